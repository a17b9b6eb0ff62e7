"""Normal clients of a service, in a process of their own so that nothing else slows them: python load_client.py PORT
CLIENTS SECONDS FILE; prints as JSON how long each answer took, and what went wrong."""

import http.client
import json
import sys
import threading
import time
from pathlib import Path

PAUSE = 0.02


def main() -> None:
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    photograph = Path(sys.argv[4]).read_bytes()
    times: list[float] = []
    wrong: list[str] = []
    ends = time.monotonic() + seconds
    threads = [threading.Thread(target=ask, args=(port, photograph, ends, times, wrong)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"times": times, "wrong": wrong}))


def ask(port: int, photograph: bytes, ends: float, times: list[float], wrong: list[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < ends:
        started = time.perf_counter()
        try:
            connection.request("POST", "/v1/classify", photograph, {"Content-Type": "image/png"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            wrong.append(repr(error))
            connection.close()
            continue
        times.append(time.perf_counter() - started)
        if response.status != 200:
            wrong.append(f"{response.status} {body[:100]!r}")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
