# Kubernetes' programs, compiled from Debian's source package.

PROGRAMS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)

kubernetes() {
  local program
  for program in "${PROGRAMS[@]}"; do
    [ -x "$BIN/$program" ] || { compile; return; }
  done
}

compile() {
  say "compiling Kubernetes from Debian's source package (5 to 10 minutes, once on a machine)"
  install_packages golang-go golang-github-modern-go-reflect2-dev dpkg-dev make rsync jq
  local work=$CACHE/build   # some gigabytes, left there where it fails
  rm -rf "$work"
  elsewhere deb-src "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work" || die "so its source package cannot be had"
  quietly kubernetes-source apt-get "${APT[@]}" -q update
  (cd "$work" && quietly kubernetes-source apt-get "${APT[@]}" -q source --download-only kubernetes &&
    quietly kubernetes-source dpkg-source -x kubernetes_*.dsc kubernetes)
  quietly kubernetes-build make_programs "$work"
  install "${PROGRAMS[@]/#/$work/kubernetes/_output/bin/}" "$BIN"
  rm -rf "$work"
}

make_programs() (
  cd "$1/kubernetes"
  # its own reflect2 1.0.1 does not work with Go 1.18 and later: the API server panics on some JSON; Debian's 1.0.2 does
  rm vendor/github.com/modern-go/reflect2/*.{go,s}
  cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} vendor/github.com/modern-go/reflect2/
  mkdir -p .go/src/k8s.io && ln -sfn ../../.. .go/src/k8s.io/kubernetes
  local version; version=$(dpkg-parsechangelog -S Version); version=${version%%[-+]*}
  export KUBE_GIT_VERSION=v$version KUBE_GIT_MAJOR=${version%%.*} KUBE_GIT_MINOR KUBE_GIT_COMMIT=debian KUBE_GIT_TREE_STATE=clean
  KUBE_GIT_MINOR=$(cut -d. -f2 <<<"$version")
  # Debian's Go, whatever other one is in the PATH; nothing is left behind in a home directory
  export PATH=/usr/lib/go/bin:$PATH GOPATH=$PWD/.go GOCACHE=$1/go-cache GOFLAGS= CGO_ENABLED=0
  make GOLDFLAGS="-s -w" WHAT="${PROGRAMS[*]/#/cmd/}"
)
