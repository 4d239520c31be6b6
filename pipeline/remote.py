"""Files behind http(s) and S3, read by ranges that are checked, retried and never cached as failed.

GDAL remembers a failed open for the life of the process, follows redirects to any host, and takes
whatever bytes a range request brings. So ranges are fetched here; where GDAL decodes them, they are laid at
their places in a sparse file in memory.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import fcntl
import hashlib
import hmac
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urljoin, urlsplit

import planetary_computer
import planetary_computer.sas
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, TimeoutError

from pipeline import stages
from pipeline.tiles import Shelf

#: Tries of one range, the wait before the second (it doubles), and the longest wait obeyed.
ATTEMPTS, WAIT_S, LONGEST_WAIT_S = 5, 0.5, 60.0
TIMEOUT = urllib3.Timeout(connect=15, read=30)
#: Bytes a second below which an answer counts as none.
SLOWEST = 10_000
#: First bytes fetched of a file: a COG's directories are there.
HEAD = 32768
#: Ranges closer than this are fetched as one.
GAP = 32768
MAX_REDIRECTS = 3
#: Largest file taken whole from a server that knows no ranges.
MAX_WHOLE = 64 << 20
_RETRIED = {408, 425, 429, 500, 502, 503, 504}

#: Kinds of fault that take a read.
Cause = Literal[
    "missing asset", "checksum", "HTTP status", "signature", "timeout", "connection", "truncated", "redirect",
    "no ranges", "unreadable", "wrong grid", "budget", "radiometric guard",
]  # fmt: skip


class Fault(OSError):
    """A file or a part of it could not be had; ``cause`` is the kind that the ledger counts."""

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(text)
        self.cause: Cause = cause


@dataclass(frozen=True)
class Access:
    """How a provider lets its files be read."""

    sign: bool = False
    s3_endpoint: str = ""
    connections: int = 0


@dataclass(frozen=True)
class Answer:
    """A range of a file, the file's size, and what the server tells its versions apart by ("": nothing)."""

    body: bytes
    size: int
    mark: str = ""


@dataclass(frozen=True)
class Head:
    """What had to be fetched of one version of a file to know where its pixels lie."""

    size: int
    mark: str
    parts: tuple[tuple[int, bytes], ...]
    """(start, content)."""
    known_at: float
    """On the monotonic clock."""

    @property
    def weight(self) -> int:
        """Bytes that it holds."""
        return 200 + sum(len(content) for _, content in self.parts)


#: Heads of files with a mark, of one process, and for how long they are taken without asking: blocks come
#: back to the same files. A file that was replaced meanwhile answers the next range with another mark.
HEADS: Shelf[Head] = Shelf(64 << 20, lambda head: head.weight)
HEAD_S, MAX_HEAD = 600.0, 1 << 20


@dataclass
class RemoteFile:
    """The parts of one file that were fetched."""

    url: str
    access: Access
    fresh: bool = False
    """Ask the server even where the file's head is known."""
    size: int = 0
    mark: str = ""
    """The server's ETag, else the time of the last change: every later range must come with the same."""
    _parts: list[tuple[int, bytes]] = field(default_factory=list)
    """(start, content)."""
    _fd: int = -1
    """The sparse file, where somebody wanted it."""
    _laid: int = 0
    """Parts that are in it."""

    def __post_init__(self) -> None:
        head = None if self.fresh else HEADS.peek(self.url)
        self.resumed = head is not None and time.monotonic() - head.known_at < HEAD_S
        try:
            if head and self.resumed:
                self.size, self.mark = head.size, head.mark
                self.adopt_head()
            else:
                self._get(0, HEAD)
        except BaseException:
            self.close()
            raise

    def adopt_head(self) -> bool:
        """Take over what an earlier reader of this version kept; False where nobody did."""
        head = HEADS.peek(self.url)
        if head is None or (head.size, head.mark) != (self.size, self.mark):
            return False
        self._parts += head.parts
        return True

    def keep_head(self) -> None:
        """Let later readers of the same version begin with all that is here now."""
        head = Head(self.size, self.mark, tuple(self._parts), time.monotonic())
        if self.mark and not self.resumed and head.weight <= MAX_HEAD:
            HEADS.put(self.url, head)

    @property
    def whole(self) -> bool:
        """True where every byte is here."""
        return self._here(0, self.size)

    def _here(self, start: int, stop: int) -> bool:
        """Whether all of a range was fetched, in whatever parts."""
        for at, content in sorted(self._parts, key=lambda part: part[0]):
            if at > start:
                break
            start = max(start, at + len(content))
        return start >= stop

    @property
    def path(self) -> str:
        """Path of a sparse file of the file's own size that holds what was fetched by now, for GDAL."""
        if self._fd < 0:
            self._fd = os.memfd_create("phusa")
            os.ftruncate(self._fd, self.size)
        for start, content in self._parts[self._laid :]:
            os.pwrite(self._fd, content, start)
        self._laid = len(self._parts)
        return f"/proc/self/fd/{self._fd}"

    def close(self) -> None:
        """Let go of what was fetched."""
        self._parts.clear()
        self._laid = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes start..stop of the file. Raises Fault."""
        self.prefetch([(start, stop)])
        for at, content in self._parts:
            if at <= start and stop <= at + len(content):
                return content[start - at : stop - at]
        out = bytearray(stop - start)
        for at, content in self._parts:
            a, b = max(start, at), min(stop, at + len(content))
            if a < b:
                out[a - start : b - start] = content[a - at : b - at]
        return bytes(out)

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> bool:
        """Bring the ranges that are not there yet; False where all were. Raises Fault."""
        wanted = [r for r in ranges if not self._here(*r)]
        for start, stop in _merged(sorted(wanted)):
            if stop > self.size:
                raise Fault("truncated", f"bytes {start}-{stop} are wanted of a file of {self.size}")
            self._get(start, stop)
        return bool(wanted)

    def _get(self, start: int, stop: int) -> None:
        try:
            answer = get(self.url, start, stop, self.access, self.mark)
        except Fault:
            HEADS.drop(self.url)  # it may have been replaced by one without such a range
            raise
        if not self.size:
            self.size, self.mark = answer.size, answer.mark
        elif (answer.size, answer.mark) != (self.size, self.mark):
            HEADS.drop(self.url)
            raise Fault(
                "checksum",
                f"it was replaced while it was read: size {self.size} and mark {self.mark!a:.60} became "
                f"{answer.size} and {answer.mark!a:.60}",
            )
        self._parts.append((start, answer.body))


def _merged(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start, stop = -1, -1
    for a, b in ranges:
        if start >= 0 and a - stop <= GAP:
            stop = max(stop, b)
            continue
        if start >= 0:
            yield start, stop
        start, stop = a, b
    if start >= 0:
        yield start, stop


def get(url: str, start: int, stop: int, access: Access, mark: str = "") -> Answer:
    """Bytes start..stop (fewer at the end of the file) of the file that has ``mark``, if that is known.

    What may pass is tried again: time-outs, resets, 429 and 5xx (as long as Retry-After says), and
    answers that are not the range asked for; a refused signature is made anew once. Raises Fault.
    """
    waited, signed_again = 0.0, False
    for attempt in range(1, ATTEMPTS + 1):
        pause = WAIT_S * 2 ** (attempt - 1)
        try:
            with _slot(urlsplit(url).netloc, access.connections):
                answer = _try(url, start, stop, access, mark)
            stages.bring(len(answer.body))
            return answer
        except _Again as fault:
            reason, pause = fault, max(pause, fault.after)
        except Fault as fault:
            if fault.cause != "signature" or not access.sign or signed_again:
                raise
            signed_again, reason, pause = True, _Again(fault.cause, str(fault)), 0.0
            _forget_token(url)
        waited += pause
        if waited > LONGEST_WAIT_S:
            raise Fault("budget", f"{reason}; it would have to wait {pause:.0f} s")
        if attempt < ATTEMPTS:
            time.sleep(pause)
    raise Fault(reason.cause, f"{reason} ({ATTEMPTS} times)")


class _Again(Fault):
    """A fault that may pass; ``after`` is the least wait in seconds."""

    def __init__(self, cause: Cause, text: str, after: float = 0.0) -> None:
        super().__init__(cause, text)
        self.after = after


def _try(url: str, start: int, stop: int, access: Access, mark: str) -> Answer:
    place, headers = _request(url, start, stop, access)
    if mark.startswith('"'):  # a strong ETag: the server may refuse at once
        headers["If-Match"] = mark
    for _ in range(MAX_REDIRECTS + 1):
        try:
            answer = _pool().request(
                "GET",
                place,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=TIMEOUT,
            )
        except TimeoutError:
            raise _Again("timeout", f"no answer from {urlsplit(place).netloc} in time") from None
        except (HTTPError, MaxRetryError, OSError) as error:
            raise _Again("connection", f"{type(error).__name__}: {str(error)[:200]}") from None
        try:
            if answer.status in (301, 302, 303, 307, 308):
                place = _redirected(place, answer.headers.get("Location", ""))
                continue
            return _body(answer, start, stop, access)
        finally:
            _done(answer)
    raise Fault("redirect", f"more than {MAX_REDIRECTS} redirects")


def _done(answer: urllib3.BaseHTTPResponse) -> None:
    """A connection whose answer was read to its end serves again; another is closed."""
    if answer.length_remaining == 0:
        answer.drain_conn()
        answer.release_conn()
    else:
        answer.close()


def _redirected(place: str, location: str) -> str:
    target = urljoin(place, location)
    old, new = urlsplit(place), urlsplit(target)
    upgraded = (old.scheme, new.scheme, old.port, new.port) == ("http", "https", None, None)
    if new.hostname != old.hostname or ((new.scheme, new.port) != (old.scheme, old.port) and not upgraded):
        raise Fault("redirect", f"redirected to {new.scheme}://{new.netloc}, which is not the provider's")
    return target


def _body(answer: urllib3.BaseHTTPResponse, start: int, stop: int, access: Access) -> Answer:
    status = answer.status
    if status not in (200, 206):
        raise _refusal(status, answer.headers.get("Retry-After"), access)
    size = _range_size(answer.headers.get("Content-Range", ""), start, stop) if status == 206 else None
    length = min(stop, size) - start if size is not None else MAX_WHOLE + 1
    mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    try:
        body = _read(answer, length)
    except Fault:
        raise
    except TimeoutError:
        raise _Again("timeout", "the answer stopped coming") from None
    except (HTTPError, OSError) as error:
        raise _Again("connection", f"{type(error).__name__}: {str(error)[:200]}") from None
    if size is not None:
        if len(body) != length:
            raise _Again("truncated", f"{len(body)} bytes came of {length}")
        return Answer(body, size, mark)
    if len(body) > MAX_WHOLE:
        raise Fault("no ranges", "the server sends whole files only, and this one is too large")
    said = answer.headers.get("Content-Length")
    if said is not None and said.isdigit() and int(said) != len(body):
        raise _Again("truncated", f"{len(body)} bytes came of {said}")
    return Answer(body[start:stop], len(body), mark)


def _read(answer: urllib3.BaseHTTPResponse, length: int) -> bytes:
    """At most ``length`` bytes. A server that lets them drip would never run into a time-out of its own."""
    parts, missing = [], length
    latest = time.monotonic() + float(TIMEOUT.read_timeout or 0) + length / SLOWEST
    while missing and (part := answer.read1(min(missing, 1 << 20), decode_content=False)):
        parts.append(part)
        missing -= len(part)
        if missing and time.monotonic() > latest:
            raise _Again(
                "timeout", f"{length - missing} bytes of {length} came, less than {SLOWEST} a second"
            )
    return b"".join(parts)


def _range_size(said: str, start: int, stop: int) -> int:
    """The file's size, if the answer is the range that was asked for."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", said.strip(), re.ASCII)
    if match is None:
        raise _Again("truncated", f"Content-Range is {said!a:.60}")
    first, last, size = (int(g) for g in match.groups())
    if first != start or last + 1 != min(stop, size):
        raise _Again("truncated", f"bytes {start}-{stop - 1} were asked for, {said!a:.60} came")
    return size


def _refusal(status: int, after: str | None, access: Access) -> Fault:
    text = f"HTTP status {status}"
    if status in _RETRIED:
        return _Again("HTTP status", text, _seconds(after))
    if status in (401, 403):
        return Fault("signature" if access.sign else "HTTP status", text)
    if status in (404, 410):
        return Fault("missing asset", text)
    if status == 412:
        return Fault("checksum", f"{text}: it was replaced while it was read")
    if status == 416:
        return Fault("truncated", f"{text}: the file is shorter than it should be")
    return Fault("HTTP status", text)


def _seconds(after: str | None) -> float:
    """Retry-After: seconds or a date."""
    if not after:
        return 0.0
    if re.fullmatch(r"\d+", after, re.ASCII):
        return float(after[:9])
    try:
        moment = email.utils.parsedate_to_datetime(after)
        return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


@lru_cache(maxsize=1)
def _pool_of(process: int) -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=16, maxsize=64)


def _pool() -> urllib3.PoolManager:
    return _pool_of(os.getpid())


# --- who may read ------------------------------------------------------------------------------


def _request(url: str, start: int, stop: int, access: Access) -> tuple[str, dict[str, str]]:
    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    if url.startswith("s3://"):
        place = s3_address(url, access.s3_endpoint)
        return place, headers | s3_headers(place, headers["Range"], dt.datetime.now(dt.UTC))
    if not access.sign:
        return url, headers
    try:
        return str(planetary_computer.sign_url(url)), headers
    except Exception as error:  # requests' and pydantic's own kinds
        raise _Again("signature", f"no access token: {type(error).__name__}: {str(error)[:200]}") from None


def _forget_token(url: str) -> None:
    """Drop the cached token of an address, so that the next one is new."""
    account = urlsplit(url).netloc.partition(".")[0]
    for key in list(planetary_computer.sas.TOKEN_CACHE):
        if f"/{account}/" in key:
            planetary_computer.sas.TOKEN_CACHE.pop(key, None)


def s3_address(url: str, endpoint: str) -> str:
    """The http(s) address of an ``s3://bucket/key``; AWS_S3_ENDPOINT and AWS_HTTPS as GDAL reads them."""
    parts = urlsplit(url)
    path = quote(parts.path, safe="/-_.~")
    endpoint = os.environ.get("AWS_S3_ENDPOINT", endpoint)
    scheme = "http" if os.environ.get("AWS_HTTPS", "YES").upper() in ("NO", "FALSE", "OFF") else "https"
    if endpoint:
        return f"{scheme}://{endpoint.split('://')[-1].rstrip('/')}/{parts.netloc}{path}"
    region = os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    return f"{scheme}://{parts.netloc}.s3.{region}.amazonaws.com{path}"


def s3_headers(place: str, asked: str, now: dt.datetime) -> dict[str, str]:
    """AWS Signature Version 4 by the keys in the environment; nothing where there are none."""
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        return {}
    parts, stamp = urlsplit(place), f"{now:%Y%m%dT%H%M%SZ}"
    region = os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    empty = hashlib.sha256(b"").hexdigest()
    signed = {"host": parts.netloc, "range": asked, "x-amz-content-sha256": empty, "x-amz-date": stamp}
    if token := os.environ.get("AWS_SESSION_TOKEN"):
        signed["x-amz-security-token"] = token
    names = ";".join(signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    request = f"GET\n{parts.path}\n{parts.query}\n{lines}\n{names}\n{empty}"
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    mac = ("AWS4" + secret).encode()
    for part in (*scope.split("/"), text):
        mac = hmac.digest(mac, part.encode(), "sha256")
    proof = f"AWS4-HMAC-SHA256 Credential={key}/{scope},SignedHeaders={names},Signature={mac.hex()}"
    return {n: v for n, v in signed.items() if n not in ("host", "range")} | {"Authorization": proof}


@contextmanager
def _slot(host: str, connections: int) -> Iterator[None]:
    """One of a provider's few connections, shared by all processes of this machine."""
    if not connections:
        yield
        return
    name = re.sub(r"[^A-Za-z0-9.-]", "_", host)
    folder = Path(tempfile.gettempdir()) / f"phusa-connections-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for k in range(connections):
            with (folder / str(k)).open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield
                return
        time.sleep(0.02)
