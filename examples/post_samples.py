"""Posts samples to a perfmon collector as JSON. Needs nothing but Python.

    python post_samples.py [URL] [TOKEN_FILE]        default: http://127.0.0.1:9001, no token

The answer comes when the samples are stored, and names each one that was refused. Sending a sample again
changes nothing, so after an error the whole request may be repeated.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:9001"
    headers = {"Content-Type": "application/json"}
    if len(sys.argv) > 2:
        headers["Authorization"] = f"Bearer {Path(sys.argv[2]).read_text().strip()}"
    body = {
        "host": "nightly",  # of all samples that name no host of their own
        "samples": [
            {"metric": "backup.duration", "value": 812.5},  # without a time: now
            {"metric": "backup.size;target=tape", "value": 3.1e11, "time": time.time() - 60},
            {"metric": "backup.size;target=disk", "value": 2.9e11, "host": "nightly2"},
        ],
    }
    request = urllib.request.Request(f"{url}/api/v1/samples", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as problem:
        sys.exit(f"{problem.code}: {json.load(problem)['error']}")
    sys.stdout.write(f"{answer['stored']} stored\n")
    for refused in answer["refused"]:
        sys.stdout.write(f"sample {refused['place']} refused: {refused['reason']}: {refused['detail']}\n")


if __name__ == "__main__":
    main()
