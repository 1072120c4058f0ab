# The Docker Engine and the images that nobody can pull. Through its API: whichever docker command is installed, or none.

SOCKET=/var/run/docker.sock

engine_api() { curl -sS --fail-with-body --unix-socket $SOCKET "${@:2}" "http://engine$1"; }
engine_answers() { engine_api /_ping -o /dev/null 2>/dev/null; }

# Sets ENGINE_STARTED where it did not run before: then no container of an earlier time runs either.
engine() {
  ENGINE_STARTED=
  engine_answers && return
  ENGINE_STARTED=yes
  say "starting the Docker Engine"
  if [ -d /run/systemd/system ] && may_lower_oom_score; then
    systemctl start docker
    for _ in $(seq 300); do engine_answers && return; sleep 0.1; done
    die "the Docker Engine does not answer (see: journalctl -u docker)"
  fi
  forget_pid /var/run/docker.pid dockerd
  forget_pid /var/run/docker/containerd/containerd.pid containerd
  start dockerd dockerd $(engine_options)
  await dockerd engine_answers
}

# dockerd refuses to start while a process with the pid it once had is there, whichever that is
forget_pid() {
  local pid; pid=$(cat "$1" 2>/dev/null) || return 0
  runs "$pid" "$2" || rm -f "$1"
}

# Kubernetes gives the processes of a pod's sandbox a negative oom_score_adj. Without CAP_SYS_RESOURCE (24) that fails, and every pod
# with it: there a wrapper of runc leaves the score as it is.
may_lower_oom_score() {
  local bounding; bounding=$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status)
  (((16#$bounding >> 24) & 1))
}

engine_options() {
  [ -e /etc/docker/daemon.json ] && return   # this machine's owner has decided
  may_lower_oom_score && return
  install -m 755 runc-keep-oom "$BIN/runc-keep-oom"
  echo "--add-runtime keep-oom=$BIN/runc-keep-oom --default-runtime keep-oom"
}

has_image() { engine_api "/images/$1/json" -o /dev/null 2>/dev/null; }

# Images of Debian's static busybox, under the names that Dockerfiles and the kubelet use.
busybox_image() { busybox_based busybox:1.36 'CMD ["sh"]'; }
pause_image() { busybox_based "$PAUSE" 'ENTRYPOINT ["sh", "-c", "trap exit TERM INT; sleep infinity & wait"]'; }

# busybox_based NAME:TAG CHANGE: unless the Engine has it
busybox_based() {
  has_image "$1" && return
  local root; root=$(mktemp -d)
  mkdir -p "$root/bin" "$root/tmp" "$root/etc"
  chmod 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/"
  /bin/busybox --list | grep -vx busybox | xargs -I{} ln -s busybox "$root/bin/{}"
  echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
  import "$root" "$1" "$2"
  rm -rf "$root"
}

# import DIRECTORY NAME:TAG CHANGE...
import() {
  say "making the image $2"
  local change changes=()
  for change in "${@:3}"; do changes+=(--url-query "changes=$change"); done
  tar -C "$1" --owner=0 --group=0 --numeric-owner -c . |
    engine_api /images/create -X POST -T - -o "$RUN/log/import.log" --url-query fromSrc=- --url-query "repo=${2%:*}" \
      --url-query "tag=${2##*:}" "${changes[@]}"
  has_image "$2" || die "making the image $2 failed: $(cat "$RUN/log/import.log")"
}
