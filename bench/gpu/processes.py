"""Processes of one measurement, what they may take, and the device that they run on."""

import contextlib
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any, Iterator

import provenance

Line = dict[str, Any]


def device_info(device: str, ceilings: Path) -> dict[str, Any]:
    info: dict[str, Any] = {"name": provenance.machine(), "sm": None, "sms": None, "driver": None, "cuda": None}
    if device == "cpu":
        return info
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=True)
    info["name"], info["sm"], info["driver"] = (word.strip() for word in done.stdout.splitlines()[0].split(","))
    for line in ceilings.read_text().splitlines() if ceilings.exists() else []:
        with_name = json.loads(line)["device"] if line.startswith("{") and line.endswith("}") else {}
        if with_name.get("name") == info["name"]:
            info.update(sms=with_name["sm"], cuda=with_name["cuda"])
    return info


def environment(device: str, work: Path) -> dict[str, str]:
    own = {"TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"), "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
           "JAX_PLATFORMS": "cpu" if device == "cpu" else "cuda", "TF_CPP_MIN_LOG_LEVEL": "2"}
    return {**os.environ, **own, **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})}


def lines_of(command: list[str], limit: float, log: Path, env: dict[str, str]) -> Iterator[Line]:
    """The JSON lines of a process as they come; at its end {"reason"} if it did not end well."""
    expired = threading.Event()
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env,
                                   start_new_session=True)

        def end() -> None:
            expired.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # its compilers too

        timer = threading.Timer(limit, end)
        timer.start()
        try:
            with process.stdout:
                for line in process.stdout:
                    if line.startswith("{"):
                        yield json.loads(line)
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                end()
                process.wait()
    if expired.is_set():
        yield {"reason": f"out of time after {limit:.0f} s", "expired": True}
    elif code != 0:
        complaint = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        yield {"reason": f"exit code {code}: {complaint[-1][:300] if complaint else 'no output'}"}
