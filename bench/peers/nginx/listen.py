"""Run nginx on a listening socket that has TCP_NODELAY, which the kernel hands on to every connection.

nginx sets it only where a connection is kept alive or proxied, and so not for Nchan's subscribers. A socket
that is named in the variable NGINX is one that nginx takes over.

usage: python listen.py PORT NGINX ARGUMENT...
"""

import os
import socket
import sys


def main() -> None:
    """Listen, and become nginx."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.set_inheritable(True)
    os.execve(sys.argv[2], sys.argv[2:], {**os.environ, "NGINX": f"{listener.fileno()};"})


if __name__ == "__main__":
    main()
