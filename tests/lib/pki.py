"""Certificates in libvirt's places, for hosts that no cluster has given any."""
import os
import shutil
import subprocess
import tempfile


def _openssl(*arguments, text=None):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, text=True, input=text, timeout=60)


class Authority:
    def __init__(self, name="test authority"):
        self.directory = tempfile.mkdtemp(prefix="vq-pki-")
        self.certificate = os.path.join(self.directory, "ca.pem")
        self.key = os.path.join(self.directory, "ca.key")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                 "-days", 3, "-keyout", self.key, "-out", self.certificate, "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, certificate, key, usage, names=()):
        """usage: serverAuth or clientAuth."""
        request, extensions = os.path.join(self.directory, "request"), os.path.join(self.directory, "extensions")
        with open(extensions, "w", encoding="ascii") as out:
            out.write(f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage={usage}\n")
            if names:
                out.write("subjectAltName=" + ",".join(f"DNS:{other}" for other in names) + "\n")
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", 2,
                 "-extfile", extensions, "-out", certificate)
        os.chmod(key, 0o600)

    def equip_qemu(self, directory, name):
        """As QEMU wants it, for both ends of a migration."""
        os.makedirs(directory, exist_ok=True)
        shutil.copy(self.certificate, os.path.join(directory, "ca-cert.pem"))
        for role, usage in (("server", "serverAuth"), ("client", "clientAuth")):
            self.issue(name, os.path.join(directory, f"{role}-cert.pem"), os.path.join(directory, f"{role}-key.pem"), usage, [name])

    def equip(self, pki, name):
        """A host's directory /etc/pki: it is a server by that name, and a client."""
        os.makedirs(os.path.join(pki, "CA"), exist_ok=True)
        os.makedirs(os.path.join(pki, "libvirt", "private"), exist_ok=True)
        with open(self.certificate, encoding="ascii") as own, open(os.path.join(pki, "CA", "cacert.pem"), "w", encoding="ascii") as out:
            out.write(own.read())
        for role, usage in (("server", "serverAuth"), ("client", "clientAuth")):
            self.issue(name, os.path.join(pki, "libvirt", f"{role}cert.pem"),
                       os.path.join(pki, "libvirt", "private", f"{role}key.pem"), usage, [name])
