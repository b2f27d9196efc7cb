"""Talks to build/*/bin/wire_driver: our codec, driven from Python."""
import pathlib
import subprocess


class Driver:
    def __init__(self, program):
        self.process = subprocess.Popen([str(pathlib.Path(program))], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        line = " ".join(w.hex() or "-" if isinstance(w, bytes) else str(w) for w in words)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] == "error":
            raise RuntimeError(f"{line[:60]}: {' '.join(answer)}")
        return answer

    def code(self, enc, body, times=1):
        """(body in that encoding, ns a sample to encode, to decode)"""
        answer = self.ask("code", enc, body, times)
        return bytes.fromhex(answer[1]), float(answer[5]), float(answer[7])

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
