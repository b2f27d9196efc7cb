"""A certificate authority for tests: ECDSA P-256, by the openssl command."""

import subprocess
from pathlib import Path


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=30)
    assert done.returncode == 0, f"openssl {' '.join(map(str, arguments))}: {done.stderr}"


class Pki:
    """ca, and certificates made when they are first asked for: (cert path, key path)."""

    def __init__(self, folder, name="Test CA"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.ca_key = self.folder / "ca.pem", self.folder / "ca.key"
        self._issued = {}
        self._key(self.ca_key)
        _openssl("req", "-x509", "-new", "-key", self.ca_key, "-subj", f"/CN={name}", "-days", 30,
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", self.ca)

    @staticmethod
    def _key(path):
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)

    def issue(self, name, usage, names=None, days=30):
        """A certificate with CN = name; names: subjectAltName, e.g. 'DNS:localhost,IP:127.0.0.1'."""
        if (name, usage, names) in self._issued:
            return self._issued[name, usage, names]
        stem = self.folder / f"{len(self._issued)}-{name.replace('/', '_')}"
        cert, key, request, extensions = (stem.with_name(stem.name + end)
                                          for end in (".pem", ".key", ".csr", ".ext"))
        self._key(key)
        subject = "/CN=" + name.replace("/", "\\/")
        _openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
        extensions.write_text(f"extendedKeyUsage={usage}\n" +
                              (f"subjectAltName={names}\n" if names else ""))
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key,
                 "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", cert)
        self._issued[name, usage, names] = (cert, key)
        return cert, key

    def server(self, names="DNS:localhost,IP:127.0.0.1"):
        return self.issue("broker", "serverAuth", names)

    def client(self, name):
        """name: the CN, e.g. '4f/dev1' (device_user) or 'Bridge'."""
        return self.issue(name, "clientAuth")


def make_pki(folder, name="Test CA"):
    return Pki(folder, name)
