"""What runs in a build pod besides the executor: two scripts for a busybox's shell.

Executor images have no shell, so an init container copies a static busybox into an emptyDir that lies below ``/kaniko``, which Kaniko
never takes for a part of the image.

The *keeper* is the container's first process. It notes what the root filesystem looks like and ends when devloop has been silent for too
long: nothing is left to run after a ``kill -9`` of devloop.

The *agent* is what devloop speaks with, over one exec that lasts as long as the pod. It is given one word a line on its standard input:

    file NAME, piece N (and N bytes), end SIZE SHA256     a file, proven to have arrived whole
    apply                                                 the files of `gone` go, the archive's come; the whole tree's hash is told
    empty                                                 the whole tree goes
    login                                                 the file of that name is docker's configuration from now on
    build                                                 run the order
    clean                                                 make the root filesystem what it was before the build, and prove it
    beat                                                  devloop lives

It answers on standard error, ``NONCE WORD ...``; standard output has what the build says, and ``NONCE done ...`` behind it. Its standard
input is never waited on to end: that is told by no version of exec before Kubernetes 1.30.
"""

from __future__ import annotations

HOME = "/kaniko/devloop"
CONTEXT = f"{HOME}/context"
DOCKERFILE = f"{HOME}/in/Dockerfile"      # beside the context: COPY sees it only where it is one of the context's files, too
BUSYBOX = f"{HOME}/busybox"
KEEPER = f"{HOME}/keeper"
AGENT = f"{HOME}/agent"
LOGINS = "/kaniko/.docker"
CERTIFICATES = "/kaniko/certificates"
DIGEST = "/dev/termination-log"     # where Kubernetes looks for what a container has to tell at its end
PATIENCE = 45     # seconds of devloop's silence until a pod ends by itself

_APPLETS = ("sh", "awk", "cat", "chmod", "chown", "cpio", "cut", "date", "dd", "find", "gzip", "mkdir", "mv", "rm", "sed", "sha256sum",
            "sleep", "sort", "stat", "tar", "touch", "tr", "uniq", "xargs")

INSTALL = f"""\
set -e
mkdir -p {HOME}/bin {HOME}/in {CONTEXT}
cp "$0" {BUSYBOX}
printf %s "$1" > {KEEPER}
printf %s "$2" > {AGENT}
for name in {" ".join(_APPLETS)}; do {BUSYBOX} ln -sf {BUSYBOX} {HOME}/bin/$name; done
"""
"""For ``busybox sh -c INSTALL /path/of/busybox KEEPER_SCRIPT AGENT_SCRIPT``."""

_COMMON = f"""\
HOME_={HOME}
export LC_ALL=C
# of directories and links their times change with what comes, goes and is put back
state() {{
  find / -xdev -type d ! -path "$HOME_/*" -print0 | sort -z | xargs -0 stat -c '%n %f %u %g'
  find / -xdev ! -type d ! -type l ! -path "$HOME_/*" -print0 | sort -z | xargs -0 -r stat -c '%n %f %u %g %s %Y'
  find / -xdev -type l ! -path "$HOME_/*" -print0 | sort -z | xargs -0 -r stat -c '%n %u %g %N'
}}
# one name a line, whatever is in the names
names() {{ find / -xdev ! -path "$HOME_/*" -print0 | tr '\\n\\000' '\\001\\n' | sort; }}
"""

KEEPER_SCRIPT = f"""\
{_COMMON}
PATH=$HOME_/bin
trap 'exit 0' TERM INT
: > $HOME_/beat
state > $HOME_/state
names > $HOME_/names
# what the image has outside of /kaniko, to be put back; what is mounted stays where it is
cut -d' ' -f5 /proc/self/mountinfo | sort > $HOME_/mounts
find / -xdev ! -type d ! -path '/kaniko/*' | awk 'NR == FNR {{ mounted[$0]; next }} !($0 in mounted)' $HOME_/mounts - > $HOME_/kept
(cd / && sed 's|^/||' $HOME_/kept | cpio -o -H newc > $HOME_/kept.cpio) 2>/dev/null
touch $HOME_/ready
while [ $(($(date +%s) - $(stat -c %Y $HOME_/beat))) -lt {PATIENCE} ]; do
  sleep 5 &
  wait $!
done
"""

AGENT_SCRIPT = f"""\
{_COMMON}
nonce=$1
theirs=$PATH
PATH=$HOME_/bin
cd $HOME_ || exit 1
tell() {{ echo "$nonce $*" >&2; }}
ooms() {{
  cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null |
    awk '$1 == "oom_kill" {{ n += $2 }} END {{ print n + 0 }}'
}}
# the whole context's names, types, permissions, sizes and times
tree() {{
  cd {CONTEXT} || return
  {{
    find . -type d ! -path . -print0 | sort -z | xargs -0 -r stat -c 'd %a %n'
    find . -type f -print0 | sort -z | xargs -0 -r stat -c 'f %a %s %Y %n'
    find . -type l -print0 | sort -z | xargs -0 -r stat -c 'l %N'
  }} | sha256sum | cut -d' ' -f1
  cd $HOME_
}}
finish() {{
  size=$(stat -c %s in/$name) sum=$(sha256sum < in/$name | cut -d' ' -f1)
  if [ "$size $sum" = "$1 $2" ]; then tell ok; else tell bad "$size of $1 bytes" $fault; fi
}}
apply() {{
  fault=$( {{ cd {CONTEXT} && xargs -0 -r rm -rf < ../in/gone && gzip -dc ../in/archive | tar -x -p -f - ; }} 2>&1 ) || {{
    tell fault $(echo "$fault" | tr '\\n' ' ')
    return
  }}
  rm -f in/archive in/gone
  tell tree $(tree)
}}
build() {{
  before=$(ooms)
  : > {DIGEST}
  ( PATH=$theirs; . $HOME_/in/order ) < /dev/null 2>&1
  code=$?
  rm -f in/order
  printf '\\n%s done %s %s %s\\n' "$nonce" $code $(($(ooms) - before)) "$(cat {DIGEST})"
}}
clean() {{
  names | awk 'NR == FNR {{ known[$0]; next }} !($0 in known)' names - | tr '\\001\\n' '\\n\\000' | xargs -0 -r rm -rf
  awk '$2 ~ /^4/ {{ print $1 }}' state | xargs -r mkdir -p
  (cd / && cpio -i -d -m -u < $HOME_/kept.cpio) 2>/dev/null
  # directories may have got another owner or mode from the image; stat's raw mode is hexadecimal, type included
  find / -xdev -type d ! -path "$HOME_/*" -print0 | xargs -0 stat -c '%n %f %u %g' |
    awk 'NR == FNR {{ known[$1] = $0; next }} $1 in known && known[$1] != $0 {{ print known[$1] }}' state - |
    while read -r path mode user group; do
    chown $user:$group "$path"
    chmod $(printf %o $((0x$mode & 07777))) "$path"
  done
  rm -rf /dev/shm/* {LOGINS}/config.json 2>/dev/null
  state > after
  # one that differs, whichever way
  left=$(cat after state | sort | uniq -u | awk '{{ print $1; exit }}')
  if [ -z "$left" ]; then tell clean yes; else tell clean no "$left"; fi
}}
# whoever spoke with the pod before, and what is left of what he began
kill -9 -1 2>/dev/null
until [ -e ready ]; do sleep 0.05; done
rm -rf in/*
# ignore files have been obeyed when files were chosen: this empty one, being the Dockerfile's own, is all that the executor finds
: > in/Dockerfile.dockerignore
tell hello $(tree)
# what takes long is done beside it: the next beat must be heard
while read -r -t {PATIENCE} word first second; do
  : > beat
  case $word in
    beat) tell beat ;;
    file) name=$first fault=; : > in/$name ;;
    piece) said=$(dd bs=$first count=1 iflag=fullblock 2>&1 >> in/$name) || fault=$said ;;
    end) finish $first $second & ;;
    login) mv in/login {LOGINS}/config.json && chmod 600 {LOGINS}/config.json && tell ok ;;
    apply) apply & ;;
    empty) rm -rf {CONTEXT}; mkdir {CONTEXT}; tell tree $(tree) ;;
    build) build & ;;
    clean) kill -9 -1 2>/dev/null; wait; clean & ;;
  esac
done
kill -9 -1 2>/dev/null
"""
