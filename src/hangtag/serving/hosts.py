"""Which names a service may be asked under, and whom an address belongs to."""

import ipaddress
import socket
from collections.abc import Collection

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ANY = "*"


class Hosts:
    """The names that a request's `Host` may have.

    A page can let its own name point to another machine and then ask that machine as if it were its own server. A
    browser sends the name along, so that only known names are answered: this machine's own, and every IP address,
    which no page can take for itself.

    Args:
        bound: The address that the service listens on.
        named: Further names; `*` allows all.
    """

    def __init__(self, bound: str, named: Collection[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", bound.lower(), own, f"{own}.local", *(name.lower() for name in named)}
        self._is_any = ANY in named

    def allows(self, host: str) -> bool:
        """Return whether a request with this `Host`, with or without a port, is for this service."""
        if self._is_any:
            return True
        name = host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdecimal() else host
        name = name.strip("[]").lower()
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def name_client(address: str) -> str:
    """Return what stands for a client: its address, or of IPv6 the network of 64 bits, all of which one client has."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
