# What the other files share: where things are, how daemons are started, known again and waited for.

CACHE=${DEVLOOP_CLUSTER_CACHE:-/var/cache/devloop-cluster}   # compiled programs: kept for ever
RUN=${DEVLOOP_CLUSTER_RUN:-/run/devloop-cluster}             # certificates, etcd, logs, pids: of this boot
BIN=$CACHE/bin
KUBECONFIG=$RUN/kubeconfig

say() { echo "cluster: $*" >&2; }
die() { say "$*"; exit 1; }

needs_root() {
  [ "$(id -u)" = 0 ] || die "this needs root; DEVLOOP_TEST_KUBECONFIG=FILE uses a cluster that is there already"
  mkdir -p "$BIN" "$RUN/log"
}

one_at_a_time() {
  exec 9>"$CACHE/lock"
  flock 9
}

# quietly NAME COMMAND...: its output goes to a log, and is shown only if it fails
quietly() {
  local log=$RUN/log/$1.log; shift
  "$@" >"$log" 2>&1 9>&- </dev/null || { tail -n 40 "$log" >&2; die "failed: $* (all of its output: $log)"; }
}

# The program behind a daemon's short name, which names its pid file and its log.
program() {
  case $1 in
    etcd | kubelet | dockerd) echo "$1" ;;
    *) echo "kube-$1" ;;
  esac
}

# runs PID PROGRAM: by its name too, for after a restart of the machine the pid may be another's; a dead process that nobody has
# reaped (in a container, mostly) is none
runs() {
  [ "$(awk '$1 == "Name:" { name = $2 } $1 == "State:" { print name ($2 == "Z" ? " dead" : "") }' "/proc/$1/status" 2>/dev/null)" = "${2:0:15}" ]
}

alive() {
  local pid; pid=$(cat "$RUN/$1.pid" 2>/dev/null) && runs "$pid" "$(program "$1")"
}

# start NAME COMMAND...: unless it runs; it outlives this script and whoever called it
start() {
  local name=$1; shift
  alive "$name" && return
  setsid nohup "$@" >"$RUN/log/$name.log" 2>&1 9>&- </dev/null &
  local pid=$!
  echo $pid >"$RUN/$name.pid"
  # until then it is setsid or nohup by name, which `alive` would take for another's process
  until runs $pid "$(program "$name")" || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
}

# stop NAME: and wait until it is gone
stop() {
  alive "$1" || return 0
  local pid; pid=$(cat "$RUN/$1.pid")
  kill "$pid"
  for _ in $(seq 100); do alive "$1" || return 0; sleep 0.1; done
  kill -KILL "$pid"
}

# await NAME COMMAND...: until the command succeeds; the daemon's log is shown where it ends or takes three minutes
# (a machine that has just started reads its programs from a cold disk)
await() {
  local name=$1; shift
  for _ in $(seq 1800); do
    "$@" && return
    alive "$name" || break
    sleep 0.1
  done
  tail -n 30 "$RUN/log/$name.log" >&2
  die "$name is not ready (log: $RUN/log/$name.log); after 'tests/cluster/down' the next start is a fresh one"
}
