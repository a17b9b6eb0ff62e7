"""Download the photographs that a catalogue names by URL into a cache: politely, and from public addresses only.

The cache has a file for each URL, named by a hash of it and written whole, so that a kill at any moment spoils nothing
and the next run asks only for what is missing. Failures are not kept: the next run tries them again.
"""

import hashlib
import ipaddress
import math
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError, SSLError
from urllib3.exceptions import TimeoutError as RequestTimeoutError

from hangtag.catalog.image_files import Rejected
from hangtag.console import Bar, show_progress
from hangtag.errors import MissingExtraError
from hangtag.io import write_whole
from hangtag.workspace import remove_dead_parts

USER_AGENT = f"hangtag/{version('hangtag')}"
# The package that opens each kind of cloud storage; fsspec finds it by the scheme.
CLOUD_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
# Answers that are worth another request, and those of them that are about the host and not about one photograph.
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
OVERLOADED = (429, 503)
# After so many photographs in a row that a host has not answered for, each with all its retries, it is left alone.
GIVE_UP_AFTER = 20
# Content types that are no picture. All others are left to the decoder, since servers are often wrong about them.
NO_PICTURE = (
    *("audio/", "video/", "text/css", "text/html", "text/javascript", "text/xml", "application/javascript"),
    *("application/json", "application/pdf", "application/xhtml+xml", "application/xml"),
)
# IPv6 addresses that a network translates to the IPv4 address in their last four bytes.
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
CHUNK = 65_536
CHECK_SECONDS = 0.1
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


DEFAULT = DownloadSettings()


def download_photographs(
    urls: Sequence[str], cache: Path, settings: DownloadSettings = DEFAULT
) -> list[Path | Rejected]:
    """Download photographs into `cache` and return where each is.

    What the cache has is not asked for again, and a URL that is named twice is downloaded once. Failures have the codes
    `url_not_allowed`, `download_failed`, `download_timeout`, `too_many_bytes` and `not_an_image`.

    Args:
        urls: `http://` and `https://`, and with the extra `cloud` also `s3://`, `gs://` and `az://`.
        cache: The folder; it is created where there is none.
        settings: Limits, and whether addresses must be public.

    Returns:
        An entry for each URL, in the order given.

    Raises:
        MissingExtraError: A URL names cloud storage and the package that opens it is not installed.
        OSError: The cache cannot be written.
    """
    cleaned = [_clean(url) for url in urls]
    outcomes: dict[str, Path | Rejected] = {}
    hosts: dict[str, _Host] = {}
    for url in dict.fromkeys(cleaned):
        path = find_in_cache(url, cache)
        if path.is_file():
            outcomes[url] = path
            continue
        try:
            name = _read_host(url)
        except _DownloadError as error:
            outcomes[url] = Rejected(error.code, error.reason)
        else:
            hosts.setdefault(name, _Host(name)).waiting.append(url)
    _require_cloud_packages(hosts)
    _remove_parts(cache)
    missing = sum(len(host.waiting) for host in hosts.values())
    with show_progress("Downloading photographs", missing, "photographs") as bar:
        _download_missing(hosts.values(), cache, settings, outcomes, bar)
    return [outcomes[url] for url in cleaned]


def find_in_cache(url: str, cache: Path) -> Path:
    """Return the file that a URL's photograph has in the cache, whether it is there or not."""
    name = hashlib.sha256(_clean(url).encode("utf-8", "surrogatepass")).hexdigest()
    return cache / name[:2] / name


def remove_from_cache(url: str, cache: Path) -> None:
    """Remove a photograph from the cache, as one that cannot be decoded, so that the next run asks for it again."""
    find_in_cache(url, cache).unlink(missing_ok=True)


def _clean(url: str) -> str:
    """Return a URL without white space around it, and without a fragment, which is not sent."""
    url = url.strip()
    return url.partition("#")[0] if url.lower().startswith(("http:", "https:")) else url


def _remove_parts(cache: Path) -> None:
    """Remove what processes that have been killed left half written."""
    for folder in cache.glob("??"):
        remove_dead_parts(folder)


class _DownloadError(Exception):
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


@dataclass
class _Host:
    """A host, or a bucket of cloud storage, and what is wanted from it.

    Attributes:
        name: The name, with the scheme for cloud storage.
        waiting: The URLs that are not asked for yet.
        resume_at: The time until which the host wants to be left alone.
        failures: How many photographs in a row it has not answered for.
        reason: Why the last of them has failed.
    """

    name: str
    waiting: deque[str] = field(default_factory=deque)
    resume_at: float = 0
    failures: int = 0
    reason: str = ""


class _Transfer:
    """One photograph's download, which another thread can cut whatever it waits for."""

    def __init__(self, url: str, host: _Host, settings: DownloadSettings) -> None:
        self.url, self.host, self.settings = url, host, settings
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
            _DownloadError: None are, or the transfer has been cut.
        """
        rest = self.deadline - time.monotonic()
        if rest <= 0 or self._is_cut.is_set():
            limit = self.settings.photograph_seconds
            raise _DownloadError("download_timeout", f"not complete within {limit:g} seconds", is_of_host=True)
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


def _download_missing(
    hosts: Iterable[_Host],
    cache: Path,
    settings: DownloadSettings,
    outcomes: dict[str, Path | Rejected],
    bar: Bar,
) -> None:
    """Download all that the hosts have waiting; they take turns, and this thread cuts what takes too long."""
    wanted = list(hosts)
    # A host stands here once for each connection that it may still have.
    turns = deque(host for turn in range(settings.host_connections) for host in wanted if len(host.waiting) > turn)
    running: dict[Future[Path | Rejected], _Transfer] = {}
    executor = ThreadPoolExecutor(settings.connections, thread_name_prefix="download")
    with _open_pools(settings) as pools:
        try:
            while turns or running:
                while turns and len(running) < settings.connections:
                    host = turns.popleft()
                    if host.waiting:
                        transfer = _Transfer(host.waiting.popleft(), host, settings)
                        running[executor.submit(_download, transfer, cache, pools)] = transfer
                for future in wait(running, CHECK_SECONDS, FIRST_COMPLETED).done:
                    transfer = running.pop(future)
                    outcomes[transfer.url] = future.result()
                    turns.append(transfer.host)
                    bar.advance()
                for transfer in running.values():
                    if time.monotonic() > transfer.deadline:
                        transfer.cut()
        finally:
            # After Ctrl-C, or where the disk is full, nobody waits for the others.
            for transfer in running.values():
                transfer.cut()
            executor.shutdown(cancel_futures=True)


def _download(transfer: _Transfer, cache: Path, pools: urllib3.PoolManager) -> Path | Rejected:
    host = transfer.host
    if host.failures >= GIVE_UP_AFTER:
        reason = f"not asked for, since {GIVE_UP_AFTER} photographs of {host.name} in a row have failed: {host.reason}"
        return Rejected("download_failed", reason)
    try:
        data = _fetch_with_retries(transfer, pools)
    except _DownloadError as error:
        host.failures, host.reason = host.failures + 1 if error.is_of_host else 0, error.reason
        return Rejected(error.code, error.reason)
    host.failures = 0
    path = find_in_cache(transfer.url, cache)
    with write_whole(path) as temporary:
        temporary.write_bytes(data)
    return path


def _fetch_with_retries(transfer: _Transfer, pools: urllib3.PoolManager) -> bytes:
    """Return a photograph's bytes, after as many tries as may help.

    Raises:
        _DownloadError: That of the last try.
    """
    host, settings = transfer.host, transfer.settings
    for attempt in count():
        _wait_for_host(transfer)
        transfer.start()
        try:
            return _fetch(transfer, pools)
        except _DownloadError as error:
            if error.wait:
                host.resume_at = max(host.resume_at, time.monotonic() + error.wait)
            if not error.is_temporary or attempt >= settings.retries or error.wait > settings.pause_seconds:
                raise
        finally:
            transfer.stop()
        # The random part keeps requests that failed together from coming again together.
        transfer.pause(settings.backoff_seconds * 2**attempt * random.uniform(1, 1.5))
    raise AssertionError


def _wait_for_host(transfer: _Transfer) -> None:
    """Wait until the host may be asked again, if it has asked for a pause.

    Raises:
        _DownloadError: That would take longer than is allowed.
    """
    pause = transfer.host.resume_at - time.monotonic()
    if pause > transfer.settings.pause_seconds:
        reason = f"{transfer.host.name} asks to wait {pause:,.0f} seconds"
        raise _DownloadError("download_failed", reason, is_of_host=True)
    if pause > 0:
        transfer.pause(pause)


def _fetch(transfer: _Transfer, pools: urllib3.PoolManager) -> bytes:
    is_cloud = urlsplit(transfer.url).scheme.lower() in CLOUD_PACKAGES
    data = _fetch_from_cloud(transfer) if is_cloud else _fetch_by_http(transfer, pools)
    # Where no length is stated, the end of what was cut looks like any other.
    transfer.require_time()
    if len(data) > transfer.settings.max_bytes:
        reason = f"more than {transfer.settings.max_bytes} bytes, which are allowed"
        raise _DownloadError("too_many_bytes", reason)
    if not data:
        raise _DownloadError("download_failed", "the file is empty")
    return data


def _fetch_by_http(transfer: _Transfer, pools: urllib3.PoolManager) -> bytes:
    url = transfer.url
    with _translate_errors(transfer):
        for _ in range(transfer.settings.redirects + 1):
            _read_host(url, ("http", "https"))
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
    raise _DownloadError("download_failed", f"more than {transfer.settings.redirects} redirects")


def _ask(url: str, transfer: _Transfer, pools: urllib3.PoolManager) -> urllib3.BaseHTTPResponse:
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
        _DownloadError: The server answers with an error, or with what is no picture.
    """
    if response.status != HTTPStatus.OK:
        raise _describe_status(response)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind.startswith(NO_PICTURE):
        raise _DownloadError("not_an_image", f"the server sent {kind[:80]}")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > max_bytes:
        raise _DownloadError("too_many_bytes", f"{int(length)} bytes, {max_bytes} are allowed")
    data = bytearray()
    for chunk in response.stream(CHUNK):
        data += chunk
        if len(data) > max_bytes:
            break
    return bytes(data)


def _describe_status(response: urllib3.BaseHTTPResponse) -> _DownloadError:
    status, wait_seconds = response.status, 0.0
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "(an unknown status)"
    reason = f"the server answered {status} {phrase}"
    if status in OVERLOADED:
        with suppress(InvalidHeader, ValueError, OverflowError):
            wait_seconds = min(urllib3.Retry().get_retry_after(response) or 0, NEVER)
    if wait_seconds:
        reason += f" and asks to wait {wait_seconds:,.0f} seconds"
    return _DownloadError(
        "download_failed",
        reason,
        is_temporary=status in TEMPORARY,
        is_of_host=status in OVERLOADED,
        wait=wait_seconds,
    )


@contextmanager
def _translate_errors(transfer: _Transfer) -> Iterator[None]:
    """Raise any error of a request as a `_DownloadError`."""
    try:
        yield
    except HTTPError as error:
        transfer.require_time()
        if isinstance(error, RequestTimeoutError):
            reason = f"no bytes within {transfer.settings.read_seconds:g} seconds"
            raise _DownloadError("download_timeout", reason, is_temporary=True, is_of_host=True) from error
        if isinstance(error, SSLError):
            reason = f"no secure connection: {error}"
            raise _DownloadError("download_failed", reason, is_of_host=True) from error
        if isinstance(error, LocationValueError):
            raise _DownloadError("url_not_allowed", f"not a valid URL: {error}") from error
        reason = f"the connection broke off: {str(error.args[0]).rstrip('.')}"
        raise _DownloadError("download_failed", reason, is_temporary=True, is_of_host=True) from error


def _read_host(url: str, schemes: Sequence[str] = ("http", "https", *CLOUD_PACKAGES)) -> str:
    """Check a URL, and return its host, or its scheme and bucket where it names cloud storage.

    Raises:
        _DownloadError: It has another scheme, no host, or what is not sent to a server.
    """
    try:
        scheme = urlsplit(url).scheme.lower()
        parts = urllib3.util.parse_url(url)
    except (ValueError, LocationValueError) as error:
        raise _DownloadError("url_not_allowed", f"not a valid URL: {error}") from error
    if scheme not in schemes:
        allowed = ", ".join(f"{each}://" for each in schemes)
        raise _DownloadError("url_not_allowed", f"{scheme}:// is not allowed, only {allowed}")
    if not parts.host:
        raise _DownloadError("url_not_allowed", "the URL names no host")
    if scheme in CLOUD_PACKAGES:
        if "::" in url:
            raise _DownloadError("url_not_allowed", "a URL with :: is not allowed")
        return f"{scheme}://{parts.host}"
    if parts.auth is not None:
        raise _DownloadError("url_not_allowed", "a URL with a user name or a password is not allowed")
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


def _open_pools(settings: DownloadSettings) -> urllib3.PoolManager:
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
        _DownloadError: The name has no address, one that is not allowed, or none that answers.
    """
    transfer: _Transfer = _current.transfer
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
    raise _DownloadError(code, reason, is_temporary=True, is_of_host=True)


def _resolve(connection: HTTPConnection, allow_private: bool) -> list[tuple[Any, ...]]:
    host = connection.host.strip("[]")
    try:
        found: list[tuple[Any, ...]] = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        is_temporary = error.errno != socket.EAI_NONAME
        reason = f"the name {host} is not found: {error.strerror}"
        raise _DownloadError("download_failed", reason, is_temporary=is_temporary, is_of_host=True) from error
    except UnicodeError as error:
        raise _DownloadError("url_not_allowed", f"{host} is not a valid name of a host") from error
    for *_, address in found:
        if not allow_private and not _is_public(ipaddress.ip_address(address[0])):
            raise _DownloadError("url_not_allowed", f"{host} has the address {address[0]}, which is not public")
    return found


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in TRANSLATED:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _require_cloud_packages(hosts: Iterable[str]) -> None:
    """Check that what opens the cloud storage that is named is installed.

    Raises:
        MissingExtraError: It is not.
    """
    for name in hosts:
        scheme = name.partition("://")[0]
        if "://" not in name:
            continue
        try:
            import fsspec  # noqa: PLC0415  (of the extra `cloud`)

            fsspec.get_filesystem_class(scheme)
        except ImportError as error:
            what = f"Photographs at {scheme}:// need the package {CLOUD_PACKAGES[scheme]}, which is not installed."
            hint = 'Install it with `pip install "hangtag[cloud]"`.'
            raise MissingExtraError(what, received=name, hint=hint) from error


def _fetch_from_cloud(transfer: _Transfer) -> bytes:
    """Return an object's bytes, or one byte more than is allowed; the packages try again by themselves."""
    import fsspec  # noqa: PLC0415  (of the extra `cloud`)

    try:
        filesystem, path = fsspec.url_to_fs(transfer.url)
        options = {"timeout": transfer.require_time()} if filesystem.async_impl else {}
        return bytes(filesystem.cat_file(path, start=0, end=transfer.settings.max_bytes + 1, **options))
    except _DownloadError:
        raise
    except FileNotFoundError as error:
        raise _DownloadError("download_failed", "there is no such object") from error
    except TimeoutError as error:
        limit = transfer.settings.photograph_seconds
        raise _DownloadError("download_timeout", f"not complete within {limit:g} seconds", is_of_host=True) from error
    except Exception as error:
        # Each package has errors of its own.
        text = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise _DownloadError("download_failed", text) from error
