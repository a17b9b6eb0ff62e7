"""What of a request is decoded where: cheap photographs beside the network, costly ones in processes of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from hangtag.catalog.headers import Header, read_header
from hangtag.catalog.images import SIGNATURES
from hangtag.config import ServeConfig
from hangtag.serving.problems import ProblemError

# Milliseconds of decoding that one photograph, and all of a request, may take among the threads that answer everybody.
CHEAP_MILLISECONDS, CHEAP_REQUEST_MILLISECONDS = 15.0, 50.0
# A photograph that states less than it has is stopped there by the decoder's own limit.
CHEAP_PIXELS = 2_500_000
# Bytes of a cheap file; of formats whose inside is not looked at before, fewer.
CHEAP_BYTES = {"JPEG": 2_000_000, "PNG": 2_000_000, "WEBP": 2_000_000, "GIF": 200_000, "BMP": 200_000}
# Beyond these bytes headers are read in a thread: looking for scans takes a millisecond a megabyte.
SMALL_BYTES = 500_000


@dataclass(frozen=True)
class Plan:
    """How the photographs of a request are decoded.

    Attributes:
        headers: What each states of itself; None where that is not known.
        costly: The places of those that go to a process of their own.
        milliseconds: About how long decoding the others takes.
    """

    headers: tuple[Header | None, ...]
    costly: tuple[int, ...]
    milliseconds: float


def plan_decoding(contents: Sequence[bytes], config: ServeConfig) -> Plan:
    """Decide from their headers how photographs are decoded.

    Raises:
        ProblemError: Together they have too many pixels.
    """
    headers = tuple(read_header(content) for content in contents)
    pixels = sum(header.pixels for header in headers if header)
    if len(contents) > 1 and pixels > config.max_request_pixels:
        message = f"The photographs have {pixels:,} pixels together, {config.max_request_pixels:,} are allowed. "
        raise ProblemError(413, "too_many_pixels", message + "Send fewer at once, or smaller ones.")
    costly, milliseconds = [], 0.0
    for place, (content, header) in enumerate(zip(contents, headers, strict=True)):
        cost = _estimate(content, header)
        if cost <= CHEAP_MILLISECONDS and milliseconds + cost <= CHEAP_REQUEST_MILLISECONDS:
            milliseconds += cost
        else:
            costly.append(place)
    return Plan(headers, tuple(costly), milliseconds)


def _estimate(content: bytes, header: Header | None) -> float:
    """Return about how many milliseconds a photograph takes, infinity where that cannot be known."""
    if header is None:
        # No picture at all is refused at once; a picture without a known header may cost anything.
        return float("inf") if content.startswith(SIGNATURES) else 0.1
    if len(content) > CHEAP_BYTES[header.kind] or header.pixels > CHEAP_PIXELS:
        return float("inf")
    return header.milliseconds
