"""Plays the person, and the power cuts: every message must be answered once, in order."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).parent
MESSAGES = ["one", "two", "three slow", "four", "five slow", "six", "seven"]


class Bridge:
    """The server, killed and started as needed."""

    def __init__(self, data):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self.data = data
        self.start()

    def start(self):
        self.log = open(self.data + ".log", "ab")
        flags = ["serve", "--listen", self.address, "--data", self.data]
        self.process = subprocess.Popen([os.environ["BRIDGE_BIN"], *flags], stdout=self.log, stderr=self.log)
        until("the server is ready", lambda: self.call("GET", "/health/ready") is not None)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def call(self, method, path, **query):
        """The answer, or nothing if there is none."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        data = b"" if method == "POST" else None
        request = urllib.request.Request(self.url + path, method=method, data=data)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or b"{}")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None


def until(what, is_so, seconds=40):
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"never: {what}")
        time.sleep(0.05)


def play(python, sdk, transport, work):
    bridge = Bridge(os.path.join(work, "data"))
    session = bridge.call("POST", "/api/create_new_session")["session_id"]
    told = open(os.path.join(work, "agent.log"), "w+")
    flags = ["--sdk", sdk, "--transport", transport, "--url", bridge.url, "--session", session]
    agent = subprocess.Popen(
        [python, str(HERE / "agent.py"), *flags, "--turns", str(len(MESSAGES))], stdout=told, stderr=told
    )
    answers = []

    def say(text):
        queued = bridge.call("POST", "/api/queue_user_message", message=text, session_id=session)
        assert queued and queued["success"], queued

    def heard(count):
        latest = bridge.call("GET", f"/api/get_latest_response/{session}")
        if latest and latest.get("new_response"):
            answers.append((latest["original_message"], latest["response"]))
        return len(answers) >= count

    def agent_says(text):
        told.flush()
        return text in pathlib.Path(told.name).read_text()

    try:
        say(MESSAGES[0])
        until("the first answer", lambda: heard(1))
        # A burst, and a power cut while the agent works.
        say(MESSAGES[1])
        say(MESSAGES[2])
        until("the agent works", lambda: agent_says("holding three slow"))
        bridge.kill()
        time.sleep(0.5)
        bridge.start()
        until("the answers after a cut at work", lambda: heard(3))
        # One while the agent waits.
        say(MESSAGES[3])
        until("the next answer", lambda: heard(4))
        bridge.kill()
        time.sleep(1)
        bridge.start()
        for text in MESSAGES[4:]:
            say(text)
        until("the last answers", lambda: heard(len(MESSAGES)), 60)
        agent.wait(timeout=20)
        time.sleep(0.2)
        heard(len(MESSAGES) + 1)
        expected = [(text, f"re: {text}") for text in MESSAGES]
        if answers != expected:
            raise SystemExit(f"expected {expected}, heard {answers}")
        if agent.returncode != 0:
            raise SystemExit(f"the agent ended with {agent.returncode}")
    except BaseException:
        told.flush()
        sys.stderr.write(pathlib.Path(told.name).read_text()[-4000:])
        sys.stderr.write(pathlib.Path(bridge.data + ".log").read_text(errors="replace")[-2000:])
        raise
    finally:
        agent.kill()
        bridge.kill()
    return pathlib.Path(told.name).read_text().strip().splitlines()[-1]


def main():
    python, sdk, transport = sys.argv[1:]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        last = play(python, sdk, transport, work)
    seconds = time.monotonic() - began
    print(f"SDK {sdk}.x over {transport}: {len(MESSAGES)} messages answered once, in order, over two kills ({last}, {seconds:.0f} s)")


if __name__ == "__main__":
    main()
