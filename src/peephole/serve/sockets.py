"""Sockets of a server: bound to an address, alone or together with those of its other processes."""

from __future__ import annotations

import socket

from peephole.errors import PeepholeError

SPARE_FILES = 64  # that the process may open besides connections


def open_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a socket that is bound to an address.

    Args:
        host: a name or an address.
        port: 0 takes a free one.
        shared: whether sockets of other processes may be bound to the address, too, if all of them allow it.

    Raises:
        PeepholeError: the address cannot be used.
    """
    listener = None
    try:
        how = {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP, "flags": socket.AI_PASSIVE}
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, **how)[0]
        listener = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only where the protocol is named
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise PeepholeError(f"{host}:{port}: cannot listen: {error.strerror or error}") from error
    return listener


def reserve_port(host: str, port: int) -> socket.socket:
    """Return a socket that keeps an address for the shared sockets of this server's processes; it does not listen.

    Raises:
        PeepholeError: the address cannot be used, or another server has it, of several processes or of one.
    """
    reserved = open_socket(host, port)  # a shared one would be bound beside those of another server
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return reserved


def allow_connections() -> int:
    """Raise the limit of open files as far as it may be raised; return the connections that this leaves."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft - SPARE_FILES
