"""Connect by HTTP and HTTPS to public addresses only: resolve names, check addresses and redirects, and read answers.

The connection is made to the address that has been checked, so that a name that is resolved again leads nowhere else.
"""

import ipaddress
import math
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError, SSLError
from urllib3.exceptions import TimeoutError as RequestTimeoutError

USER_AGENT = f"hangtag/{version('hangtag')}"
# The package that opens each kind of cloud storage; fsspec finds it by the scheme.
CLOUD_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
# Answers that are worth another request, and those of them that are about the host and not about one photograph.
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
OVERLOADED = (429, 503)
# Content types that are no picture. All others are left to the decoder, since servers are often wrong about them.
NO_PICTURE = (
    *("audio/", "video/", "text/css", "text/html", "text/javascript", "text/xml", "application/javascript"),
    *("application/json", "application/pdf", "application/xhtml+xml", "application/xml"),
)
# IPv6 addresses that a network translates to the IPv4 address in their last four bytes.
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
CHUNK = 65_536
NEVER = 1e9


@dataclass(frozen=True)
class DownloadSettings:
    """How photographs are downloaded.

    Attributes:
        connections: Photographs downloaded at once.
        host_connections: The same from one host.
        retries: Further tries after a timeout, a broken connection, or an answer that may be temporary.
        backoff_seconds: The pause before the first further try; it doubles with each.
        connect_seconds: How long to wait for a connection.
        read_seconds: How long to wait for the next bytes.
        photograph_seconds: The limit for one photograph with all its tries and redirects, without the pauses.
        pause_seconds: The longest pause that a host may ask for; one that asks for more is left alone.
        max_bytes: Reject larger files, whatever length they claim.
        redirects: How many redirects to follow.
        allow_private_addresses: Whether to connect to addresses that are not public, as those of a local network.
    """

    connections: int = 16
    host_connections: int = 4
    retries: int = 3
    backoff_seconds: float = 0.5
    connect_seconds: float = 10
    read_seconds: float = 30
    photograph_seconds: float = 120
    pause_seconds: float = 300
    max_bytes: int = 30_000_000
    redirects: int = 5
    allow_private_addresses: bool = False


class DownloadError(Exception):
    """A photograph that cannot be downloaded.

    Attributes:
        code: Stable.
        reason: For people.
        is_temporary: Whether another try may help.
        is_of_host: Whether the host's other photographs will probably fail alike.
        wait: Seconds that the host asks to wait.
    """

    def __init__(
        self, code: str, reason: str, *, is_temporary: bool = False, is_of_host: bool = False, wait: float = 0
    ) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason
        self.is_temporary, self.is_of_host, self.wait = is_temporary, is_of_host, wait


class Transfer:
    """One photograph's download, which another thread can cut whatever it waits for."""

    def __init__(self, url: str, settings: DownloadSettings) -> None:
        self.url, self.settings = url, settings
        self.deadline = math.inf
        self._rest = settings.photograph_seconds
        self._is_cut = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Let the time run that the photograph may take."""
        self.deadline = time.monotonic() + self._rest

    def stop(self) -> None:
        """Stop the time, and forget the socket, which may be used for another photograph next."""
        self._rest, self.deadline = self.deadline - time.monotonic(), math.inf
        with self._lock:
            self._close()

    def pause(self, seconds: float) -> None:
        """Wait, at most until the transfer is cut."""
        self._is_cut.wait(seconds)

    def require_time(self) -> float:
        """Return the seconds that are left.

        Raises:
            DownloadError: None are, or the transfer has been cut.
        """
        rest = self.deadline - time.monotonic()
        if rest <= 0 or self._is_cut.is_set():
            limit = self.settings.photograph_seconds
            raise DownloadError("download_timeout", f"not complete within {limit:g} seconds", is_of_host=True)
        return rest

    def watch(self, connected: socket.socket) -> None:
        """Remember the socket that is used from now on, so that `cut` reaches it."""
        with self._lock:
            self._close()
            # Another handle of the same connection, since the first is wrapped for TLS, or closed early.
            self._socket = socket.fromfd(connected.fileno(), connected.family, connected.type)
            self._shut_down()

    def cut(self) -> None:
        """End the transfer: it stops waiting, and reads the end of the data from its socket."""
        with self._lock:
            self._is_cut.set()
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None and self._is_cut.is_set():
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def fetch_by_http(transfer: Transfer, pools: urllib3.PoolManager) -> bytes:
    """Return what a URL or its redirects lead to, or one byte more than is allowed at the least.

    Raises:
        DownloadError: A URL or an address is not allowed, or the request fails.
    """
    url = transfer.url
    with _translate_errors(transfer):
        for _ in range(transfer.settings.redirects + 1):
            read_host(url, ("http", "https"))
            response = _ask(url, transfer, pools)
            try:
                location = response.get_redirect_location()
                if not location:
                    return _read_answer(response, transfer.settings.max_bytes)
                url = urljoin(url, location)
            finally:
                # What is not read to its end cannot be used for another request.
                response.close()
                response.release_conn()
    raise DownloadError("download_failed", f"more than {transfer.settings.redirects} redirects")


def _ask(url: str, transfer: Transfer, pools: urllib3.PoolManager) -> urllib3.BaseHTTPResponse:
    rest, settings = transfer.require_time(), transfer.settings
    _current.transfer = transfer
    return pools.urlopen(
        "GET",
        url,
        redirect=False,
        retries=False,
        preload_content=False,
        headers={"User-Agent": USER_AGENT, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"},
        timeout=urllib3.Timeout(total=rest, connect=settings.connect_seconds, read=settings.read_seconds),
        pool_timeout=rest,
    )


def _read_answer(response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    """Return the body, or one byte more than is allowed at the least.

    Raises:
        DownloadError: The server answers with an error, or with what is no picture.
    """
    if response.status != HTTPStatus.OK:
        raise _describe_status(response)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind.startswith(NO_PICTURE):
        raise DownloadError("not_an_image", f"the server sent {kind[:80]}")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > max_bytes:
        raise DownloadError("too_many_bytes", f"{int(length)} bytes, {max_bytes} are allowed")
    data = bytearray()
    for chunk in response.stream(CHUNK):
        data += chunk
        if len(data) > max_bytes:
            break
    return bytes(data)


def _describe_status(response: urllib3.BaseHTTPResponse) -> DownloadError:
    status, wait_seconds = response.status, 0.0
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "(an unknown status)"
    reason = f"the server answered {status} {phrase}"
    if status in OVERLOADED:
        with suppress(InvalidHeader, ValueError, OverflowError):
            wait_seconds = min(urllib3.Retry().get_retry_after(response) or 0, NEVER)
    if wait_seconds:
        reason += f" and asks to wait {wait_seconds:,.0f} seconds"
    return DownloadError(
        "download_failed",
        reason,
        is_temporary=status in TEMPORARY,
        is_of_host=status in OVERLOADED,
        wait=wait_seconds,
    )


@contextmanager
def _translate_errors(transfer: Transfer) -> Iterator[None]:
    """Raise any error of a request as a `DownloadError`."""
    try:
        yield
    except HTTPError as error:
        transfer.require_time()
        if isinstance(error, RequestTimeoutError):
            reason = f"no bytes within {transfer.settings.read_seconds:g} seconds"
            raise DownloadError("download_timeout", reason, is_temporary=True, is_of_host=True) from error
        if isinstance(error, SSLError):
            reason = f"no secure connection: {error}"
            raise DownloadError("download_failed", reason, is_of_host=True) from error
        if isinstance(error, LocationValueError):
            raise DownloadError("url_not_allowed", f"not a valid URL: {error}") from error
        reason = f"the connection broke off: {str(error.args[0]).rstrip('.')}"
        raise DownloadError("download_failed", reason, is_temporary=True, is_of_host=True) from error


def read_host(url: str, schemes: Sequence[str] = ("http", "https", *CLOUD_PACKAGES)) -> str:
    """Check a URL, and return its host, or its scheme and bucket where it names cloud storage.

    Raises:
        DownloadError: It has another scheme, no host, or what is not sent to a server.
    """
    try:
        scheme = urlsplit(url).scheme.lower()
        parts = urllib3.util.parse_url(url)
    except (ValueError, LocationValueError) as error:
        raise DownloadError("url_not_allowed", f"not a valid URL: {error}") from error
    if scheme not in schemes:
        allowed = ", ".join(f"{each}://" for each in schemes)
        raise DownloadError("url_not_allowed", f"{scheme}:// is not allowed, only {allowed}")
    if not parts.host:
        raise DownloadError("url_not_allowed", "the URL names no host")
    if scheme in CLOUD_PACKAGES:
        if "::" in url:
            raise DownloadError("url_not_allowed", "a URL with :: is not allowed")
        return f"{scheme}://{parts.host}"
    if parts.auth is not None:
        raise DownloadError("url_not_allowed", "a URL with a user name or a password is not allowed")
    return parts.host


# The transfer that a thread works on; urllib3 makes the connections and knows nothing of it.
_current = threading.local()


class _HTTPConnection(HTTPConnection):
    """A connection to an address that has been checked."""

    def _new_conn(self) -> socket.socket:
        return _connect(self)

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request, over a connection that may have served another photograph before."""
        _watch(self)
        super().request(*args, **options)


class _HTTPSConnection(HTTPSConnection):
    """The same with TLS, for which the name stays the one in the URL."""

    def _new_conn(self) -> socket.socket:
        return _connect(self)

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request, over a connection that may have served another photograph before."""
        _watch(self)
        super().request(*args, **options)


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection

    def __init__(self, *args: Any, **options: Any) -> None:
        # One for all connections, since reading the system's certificates takes a tenth of a second.
        super().__init__(*args, ssl_context=ssl.create_default_context(), **options)


def open_pools(settings: DownloadSettings) -> urllib3.PoolManager:
    """Return the pools of connections; those of a host have no more than it may have at once."""
    # A pool lets a thread wait for a free connection, so that redirects cannot exceed the limit of a host either.
    pools = urllib3.PoolManager(num_pools=64, maxsize=settings.host_connections, block=True)
    pools.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pools


def _watch(connection: HTTPConnection) -> None:
    if connection.sock is not None:
        _current.transfer.watch(connection.sock)


def _connect(connection: HTTPConnection) -> socket.socket:
    """Connect to one of the addresses of a connection's host, all of which have been checked.

    Raises:
        DownloadError: The name has no address, one that is not allowed, or none that answers.
    """
    transfer: Transfer = _current.transfer
    host, last = connection.host, OSError()
    for family, kind, protocol, _, address in _resolve(connection, transfer.settings.allow_private_addresses):
        transfer.require_time()
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(connection.timeout)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transfer.watch(connected)
            connected.connect(address)
        except OSError as error:
            connected.close()
            last = error
        else:
            return connected
    transfer.require_time()
    if isinstance(last, TimeoutError):
        code, reason = "download_timeout", f"no connection within {transfer.settings.connect_seconds:g} seconds"
    else:
        code, reason = "download_failed", f"no connection to {host}: {last.strerror or last}"
    if urllib.request.getproxies().keys() & {"http", "https", "all"}:
        # A proxy resolves names itself, so that addresses could not be checked.
        reason += "; a proxy is set (HTTPS_PROXY), which downloads do not use"
    raise DownloadError(code, reason, is_temporary=True, is_of_host=True)


def _resolve(connection: HTTPConnection, allow_private: bool) -> list[tuple[Any, ...]]:
    host = connection.host.strip("[]")
    try:
        found: list[tuple[Any, ...]] = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        is_temporary = error.errno != socket.EAI_NONAME
        reason = f"the name {host} is not found: {error.strerror}"
        raise DownloadError("download_failed", reason, is_temporary=is_temporary, is_of_host=True) from error
    except UnicodeError as error:
        raise DownloadError("url_not_allowed", f"{host} is not a valid name of a host") from error
    for *_, address in found:
        if not allow_private and not _is_public(ipaddress.ip_address(address[0])):
            raise DownloadError("url_not_allowed", f"{host} has the address {address[0]}, which is not public")
    return found


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in TRANSLATED:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved
