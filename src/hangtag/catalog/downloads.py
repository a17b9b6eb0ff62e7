"""Download the photographs that a catalogue names by URL into a cache: politely, and from public addresses only.

The cache has a file for each URL, named by a hash of it and written whole, so that a kill at any moment spoils nothing
and the next run asks only for what is missing. Failures are not kept: the next run tries them again.
"""

import hashlib
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from hangtag.catalog.photograph_table import Rejected
from hangtag.catalog.public_connections import (
    CLOUD_PACKAGES,
    DownloadError,
    DownloadSettings,
    Transfer,
    fetch_by_http,
    open_pools,
    read_host,
)
from hangtag.console import Bar, show_progress
from hangtag.errors import MissingExtraError
from hangtag.io import write_whole
from hangtag.workspace import remove_dead_parts

__all__ = ["DownloadSettings", "download_photographs", "find_in_cache", "remove_from_cache"]

# After so many photographs in a row that a host has not answered for, each with all its retries, it is left alone.
GIVE_UP_AFTER = 20
CHECK_SECONDS = 0.1
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
            name = read_host(url)
        except DownloadError as error:
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


class _HostTransfer(Transfer):
    """A transfer that knows its host."""

    def __init__(self, url: str, host: _Host, settings: DownloadSettings) -> None:
        super().__init__(url, settings)
        self.host = host


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
    running: dict[Future[Path | Rejected], _HostTransfer] = {}
    executor = ThreadPoolExecutor(settings.connections, thread_name_prefix="download")
    with open_pools(settings) as pools:
        try:
            while turns or running:
                while turns and len(running) < settings.connections:
                    host = turns.popleft()
                    if host.waiting:
                        transfer = _HostTransfer(host.waiting.popleft(), host, settings)
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


def _download(transfer: _HostTransfer, cache: Path, pools: urllib3.PoolManager) -> Path | Rejected:
    host = transfer.host
    if host.failures >= GIVE_UP_AFTER:
        reason = f"not asked for, since {GIVE_UP_AFTER} photographs of {host.name} in a row have failed: {host.reason}"
        return Rejected("download_failed", reason)
    try:
        data = _fetch_with_retries(transfer, pools)
    except DownloadError as error:
        host.failures, host.reason = host.failures + 1 if error.is_of_host else 0, error.reason
        return Rejected(error.code, error.reason)
    host.failures = 0
    path = find_in_cache(transfer.url, cache)
    with write_whole(path) as temporary:
        temporary.write_bytes(data)
    return path


def _fetch_with_retries(transfer: _HostTransfer, pools: urllib3.PoolManager) -> bytes:
    """Return a photograph's bytes, after as many tries as may help.

    Raises:
        DownloadError: That of the last try.
    """
    host, settings = transfer.host, transfer.settings
    for attempt in count():
        _wait_for_host(transfer)
        transfer.start()
        try:
            return _fetch(transfer, pools)
        except DownloadError as error:
            if error.wait:
                host.resume_at = max(host.resume_at, time.monotonic() + error.wait)
            if not error.is_temporary or attempt >= settings.retries or error.wait > settings.pause_seconds:
                raise
        finally:
            transfer.stop()
        # The random part keeps requests that failed together from coming again together.
        transfer.pause(settings.backoff_seconds * 2**attempt * random.uniform(1, 1.5))
    raise AssertionError


def _wait_for_host(transfer: _HostTransfer) -> None:
    """Wait until the host may be asked again, if it has asked for a pause.

    Raises:
        DownloadError: That would take longer than is allowed.
    """
    pause = transfer.host.resume_at - time.monotonic()
    if pause > transfer.settings.pause_seconds:
        reason = f"{transfer.host.name} asks to wait {pause:,.0f} seconds"
        raise DownloadError("download_failed", reason, is_of_host=True)
    if pause > 0:
        transfer.pause(pause)


def _fetch(transfer: Transfer, pools: urllib3.PoolManager) -> bytes:
    is_cloud = urlsplit(transfer.url).scheme.lower() in CLOUD_PACKAGES
    data = _fetch_from_cloud(transfer) if is_cloud else fetch_by_http(transfer, pools)
    # Where no length is stated, the end of what was cut looks like any other.
    transfer.require_time()
    if len(data) > transfer.settings.max_bytes:
        reason = f"more than {transfer.settings.max_bytes} bytes, which are allowed"
        raise DownloadError("too_many_bytes", reason)
    if not data:
        raise DownloadError("download_failed", "the file is empty")
    return data


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


def _fetch_from_cloud(transfer: Transfer) -> bytes:
    """Return an object's bytes, or one byte more than is allowed; the packages try again by themselves."""
    import fsspec  # noqa: PLC0415  (of the extra `cloud`)

    try:
        filesystem, path = fsspec.url_to_fs(transfer.url)
        options = {"timeout": transfer.require_time()} if filesystem.async_impl else {}
        return bytes(filesystem.cat_file(path, start=0, end=transfer.settings.max_bytes + 1, **options))
    except DownloadError:
        raise
    except FileNotFoundError as error:
        raise DownloadError("download_failed", "there is no such object") from error
    except TimeoutError as error:
        limit = transfer.settings.photograph_seconds
        raise DownloadError("download_timeout", f"not complete within {limit:g} seconds", is_of_host=True) from error
    except Exception as error:
        # Each package has errors of its own.
        text = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise DownloadError("download_failed", text) from error
