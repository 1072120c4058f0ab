# An image that stands in for Kaniko's executor, which cannot be pulled: what is in tests/standins/kaniko, and Debian's Python to run it.
# All of it is in /kaniko, with libraries of its own: the rest of the filesystem is the image's that is built. There is no shell.

KANIKO=devloop-test-kaniko:1
KANIKO_SOURCE=$PWD/../../standins/kaniko

kaniko() {
  local sources; sources=$(cd "$KANIKO_SOURCE" && cat executor ./*.py "$OLDPWD/kaniko.sh" | sha256sum | cut -c1-16)
  engine_api "/images/$KANIKO/json" 2>/dev/null | grep -q "\"sources\":\"$sources\"" && return
  local tools root; root=$(mktemp -d)
  tools=$CACHE/kaniko-tools-$(sha256sum kaniko.sh | cut -c1-16).tar
  [ -s "$tools" ] || { rm -f "$CACHE"/kaniko-tools*; kaniko_tools "$tools"; }
  tar -C "$root" -xf "$tools"
  mkdir "$root/kaniko/lib/kaniko"
  cp "$KANIKO_SOURCE"/*.py "$root/kaniko/lib/kaniko/"
  install "$KANIKO_SOURCE/executor" "$root/kaniko/executor"
  quietly kaniko /usr/bin/python3 -m compileall -q -s "$root" --invalidation-mode unchecked-hash "$root/kaniko/lib/kaniko"
  import "$root" "$KANIKO" 'ENTRYPOINT ["/kaniko/executor"]' 'WORKDIR /workspace' 'ENV HOME=/root USER=root PATH=/usr/local/bin:/kaniko' \
    'ENV SSL_CERT_DIR=/kaniko/ssl/certs DOCKER_CONFIG=/kaniko/.docker/' "LABEL sources=$sources"
  rm -rf "$root"
}

# kaniko_tools ARCHIVE: Python and git, which look for their libraries beside themselves
kaniko_tools() {
  command -v patchelf >/dev/null && [ -x /usr/bin/python3 ] && [ -x /usr/lib/git-core/git-remote-https ] || install_packages patchelf python3 git
  local root program library version; root=$(mktemp -d)
  version=$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  mkdir -p "$root"/kaniko/{lib,python/bin,python/lib,git,.docker,ssl/certs} "$root"/{etc,workspace}
  chmod 777 "$root/kaniko"
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
  cp /etc/ssl/certs/ca-certificates.crt "$root/kaniko/ssl/certs/"
  for program in test idlelib tkinter ensurepip lib2to3 pydoc_data distutils unittest asyncio xml sqlite3 config-3\*; do
    echo "$version/$program"
  done | tar -C /usr/lib -X - -c "$version" | tar -C "$root/kaniko/python/lib" -x
  cp "/usr/bin/$version" "$root/kaniko/python/bin/python3"
  cp /usr/bin/git /usr/lib/git-core/git-remote-https "$root/kaniko/git/"
  ln "$root/kaniko/git/git-remote-https" "$root/kaniko/git/git-remote-http"
  for program in "$root"/kaniko/git/git{,-remote-https} "$root"/kaniko/python/bin/python3 "$root/kaniko/python/lib/$version"/lib-dynload/*.so; do
    ldd "$program" | sed -n 's|^[^/]*\(/[^ ]*\).*|\1|p'
  done | sort -u | while read -r library; do cp -L "$library" "$root/kaniko/lib/"; done
  for program in "$root"/kaniko/git/git{,-remote-https} "$root"/kaniko/python/bin/python3; do
    quietly patchelf patchelf --set-interpreter "/kaniko/lib/$(basename "$(patchelf --print-interpreter "$program")")" \
      --force-rpath --set-rpath /kaniko/lib "$program"
  done
  tar -C "$root" --owner=0 --group=0 --numeric-owner -cf "$1.new" .
  mv "$1.new" "$1"
  rm -rf "$root"
}
