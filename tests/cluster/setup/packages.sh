# Debian packages: what is missing of them.

packages() {
  have dockerd docker-registry etcd iptables conntrack ebtables socat nsenter ethtool ip modprobe openssl curl /bin/busybox ||
    install_packages docker.io docker-registry etcd-server iptables conntrack ebtables socat util-linux ethtool iproute2 kmod openssl curl \
      ca-certificates busybox-static
}

engine_packages() {
  have dockerd iptables curl /bin/busybox || install_packages docker.io iptables curl ca-certificates busybox-static
}

# have PROGRAM...: all of them
have() {
  local program missing=()
  for program; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [ ${#missing[@]} = 0 ] || { say "installing Debian packages for: ${missing[*]}"; return 1; }
}

# None of their services is started: `engine` does it where it is needed, with the options it needs.
install_packages() {
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap "rm -f $policy" EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  quietly apt apt-get -q -o DPkg::Lock::Timeout=300 update
  quietly apt apt-get -qy -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
}

# elsewhere TYPE SUITE DIRECTORY: apt's own configuration for TYPE (deb, deb-src) of SUITE, from the mirror this machine uses. It and
# its lists live in DIRECTORY, so nothing of the machine's is changed. Sets APT, the options that make apt-get use it.
elsewhere() {
  local here; here=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mkdir -p "$3/lists/partial" "$3/cache/archives/partial"
  apt-get indextargets 'Created-By: Packages' --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' | sort -u |
    awk -v here="$here" -v type="$1" -v suite="$2" \
      '$2 == here { print type, "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $1, suite, $3 }' >"$3/sources.list"
  [ -s "$3/sources.list" ] || { say "apt has no source for $here"; return 1; }
  APT=(-o "Dir::Etc::SourceList=$3/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$3/lists" -o "Dir::Cache=$3/cache"
    -o APT::Sandbox::User=root)
}

# BuildKit's client, which Debian 12 does not have yet: one static program, taken from the next release's package.
buildx() {
  local place
  for place in /usr/{local/,}lib{exec,}/docker/cli-plugins ~/.docker/cli-plugins; do
    [ -x "$place/docker-buildx" ] && return
  done
  say "installing docker-buildx"
  local work; work=$(mktemp -d)
  if (elsewhere deb trixie "$work" && cd "$work" && apt-get "${APT[@]}" -q update && apt-get "${APT[@]}" -q download docker-buildx &&
    dpkg-deb -x docker-buildx_*.deb .) >"$RUN/log/buildx.log" 2>&1 9>&-; then
    install -D "$work/usr/libexec/docker/cli-plugins/docker-buildx" /usr/local/lib/docker/cli-plugins/docker-buildx
  else
    tail -n 5 "$RUN/log/buildx.log" >&2
    say "there is no docker-buildx to be had here: tests of BuildKit will not run"
  fi
  rm -rf "$work"
}
