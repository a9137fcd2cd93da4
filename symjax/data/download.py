"""A downloader for pooch that goes on where it was broken off.

    pooch.retrieve(url, known_hash, downloader=ResumingDownloader(part, size))

References:
  Pooch, "Downloaders": https://www.fatiando.org/pooch/latest/downloaders.html
  RFC 9110, Section 14 (Range Requests).
"""

import dataclasses
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

CONNECT_SECONDS = 5
STALL_SECONDS = 30  # Without a single byte, in the middle of a download.
ANSWER_SECONDS = 8  # Until the server's first answer, looking up its name included.
CHUNK_BYTES = 1 << 16


class DownloadError(Exception):
    """Why a download failed, in half a sentence."""


@dataclasses.dataclass(frozen=True)
class ResumingDownloader:
    """Downloads over HTTP into a partial file that the next call continues.

    Attributes:
      part: the partial file. It outlives a download that broke off.
      size: the expected number of bytes.
      progress: show a progress bar.
    """

    part: Path
    size: int
    progress: bool = False

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Downloads `url` to `output_file`, whose hash pooch then checks.

        Raises:
          DownloadError: if there is no connection, the server refuses, or the
            download broke off; what has arrived is kept. It never tries twice.
        """
        import requests
        import urllib3

        before = self._have()
        try:
            self._fetch(url)
        except requests.HTTPError as error:
            raise DownloadError(str(error)) from None
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            TimeoutError,
        ) as error:
            if self._have() != before:
                raise self._broken_off() from None
            host, reason = urlsplit(url).netloc, type(error).__name__
            raise DownloadError(f"no connection to {host}: {reason}") from None
        os.replace(self.part, output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _broken_off(self) -> DownloadError:
        return DownloadError(
            f"the download broke off after {self._have() / 1e6:.1f} of "
            f"{self.size / 1e6:.1f} MB; the same command goes on from there"
        )

    def _fetch(self, url: str) -> None:
        have = self._have()
        if have == self.size:
            return
        with _get(url, have) as response:
            ranged = response.headers.get("Content-Range", "")
            misplaced = response.status_code == 206 and not ranged.startswith(
                f"bytes {have}-"
            )
            if not (have and (response.status_code == 416 or misplaced)):
                response.raise_for_status()
                self._receive(response, have if response.status_code == 206 else 0)
                return
        # What is here does not fit what the server has: start anew, without a range.
        self.part.unlink()
        self._fetch(url)

    def _receive(self, response: Any, start: int) -> None:
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else self.size
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        name = self.part.name.removesuffix(".part")
        with (
            self.part.open("ab" if start else "wb") as file,
            Progress(*columns, disable=not self.progress) as bar,
        ):
            task = bar.add_task(name, total=total, completed=start)
            # Raw, because requests would unpack a body labelled as gzip.
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                bar.advance(task, len(chunk))
        if self._have() < total:
            raise self._broken_off()


def _get(url: str, have: int) -> Any:
    """The server's answer to a request for everything from byte `have` on."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    timeout = (CONNECT_SECONDS, STALL_SECONDS)
    return _within(
        ANSWER_SECONDS,
        lambda: requests.get(url, headers=headers, timeout=timeout, stream=True),
    )


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """Calls a function; raises TimeoutError and abandons it when it hangs."""
    # A thread, because looking up a host's name takes no timeout, and a daemon, because
    # the program must be able to end while it still hangs.
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future.result(timeout=seconds)
