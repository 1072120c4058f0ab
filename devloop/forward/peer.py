"""Whether a client that has said all still listens. TCP does not say; Linux knows of both ends where the client is on this machine."""

from __future__ import annotations

import errno
import socket
import struct
import sys

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = 0xFFFFFFFF
_HEADER = "=IHHII"            # nlmsghdr
_INODE = 16 + 68              # where inet_diag_msg's last field is, after nlmsghdr


def closed(sock: socket.socket) -> bool:
    """The socket at the other end has been closed, and not only shut down for writing. False where that cannot be known."""
    if sys.platform != "linux":
        return False
    try:
        return _closed(sock)
    except OSError:
        return False


def _closed(sock: socket.socket) -> bool:
    ours, theirs = sock.getsockname(), sock.getpeername()
    if ours[0] != theirs[0]:
        return False              # another machine's, perhaps
    local, remote = (socket.inet_pton(sock.family, end[0]).ljust(16, b"\0") for end in (theirs, ours))
    identity = struct.pack(">HH", theirs[1], ours[1]) + local + remote + struct.pack("=III", 0, _NO_COOKIE, _NO_COOKIE)
    request = struct.pack("=BBBBI", sock.family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE) + identity
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as diag:
        diag.settimeout(1)
        diag.send(struct.pack(_HEADER, 16 + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request)
        answer = diag.recv(4096)
    if struct.unpack_from(_HEADER, answer)[1] == _NLMSG_ERROR:
        return -int(struct.unpack_from("=i", answer, 16)[0]) == errno.ENOENT      # it is gone altogether
    return int(struct.unpack_from("=I", answer, _INODE)[0]) == 0                   # no process has it
