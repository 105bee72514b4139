#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""The Debian packages in the folder that OB_PACKAGES names: they install into a bare Debian, its
trio runs as the units say, a plugin built with obhost-dev alone is loaded and swapped.

As root, with mmdebstrap and a Debian mirror, the packages are installed by apt into a folder, and
each node runs in it as its unit says: its user, its folders, read-only elsewhere, no memory made
executable, only the system calls and sockets of the unit. Otherwise they are unpacked, which is
said, and what needs an installation is skipped.

Not one of the tests of `make check`: scripts/check runs it once, when it has made the packages.
"""

import ctypes
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys

from obtest.env import CC, TOP
from obtest.manager import Manager
from obtest.nodes import free_port, http_request
from obtest.plugin import VERSIONED
from obtest.seed import Client
from obtest.tap import (Failed, at_end, case, check, comment, contains, equal, eventually, main,
                        on_failure, skip, skip_all)
from obtest.temp import temp_dir

NAMES = ("obhost", "obhost-dev", "obhost-modules-admin", "obhost-modules-core",
         "obhost-modules-enet", "obhost-modules-examples")
ROLES = ("proxy", "route", "service")
DEMO_PORTS = (20000, 20001, 20002, 21001, 21002, 22001, 22002)
PLUGIN_ID = 31000

DEBS = {}
ports = {}
trio = {}


def run(*command, timeout=300, **more):
    """Runs a command; its stdout and stderr together. A status other than 0 is a failure."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", timeout=timeout, check=False, **more)
    if done.returncode != 0:
        raise Failed(f"{shlex.join(map(str, command))}: {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def field(deb, name):
    return run("dpkg-deb", "-f", deb, name).strip()


def find_debs():
    folder = pathlib.Path(os.environ.get("OB_PACKAGES") or skip_all("OB_PACKAGES names no folder"))
    if not shutil.which("dpkg-deb"):
        skip_all("no dpkg-deb")
    for file in folder.glob("*.deb"):
        if not file.name.split("_")[0].endswith("-dbgsym"):
            DEBS[file.name.split("_")[0]] = file.resolve()


# ---------------------------------------------------------------- the root

class Root:
    """Where the packages are: installed in a Debian of its own, or only unpacked."""

    def __init__(self):
        self.path = temp_dir("root")
        self.why_not = self._install()
        if self.why_not:
            comment(f"unpacked, not installed: {self.why_not}")
            shutil.rmtree(self.path)
            for deb in DEBS.values():
                run("dpkg-deb", "-x", deb, self.path)

    def _install(self):
        """None, or why they can't be installed here. That they don't is a failure."""
        if os.geteuid() != 0:
            return "not root"
        if not shutil.which("mmdebstrap") or not shutil.which("dpkg-scanpackages"):
            return "no mmdebstrap"
        suite = re.search(r"^VERSION_CODENAME=(\w+)$",
                          pathlib.Path("/etc/os-release").read_text(encoding="utf-8"), re.M)
        if not suite:
            return "not a Debian release"
        repository = temp_dir("repository")
        for deb in DEBS.values():
            shutil.copy(deb, repository)
        index = subprocess.run(["dpkg-scanpackages", "."], cwd=repository, check=True, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        (repository / "Packages").write_text(index, encoding="utf-8")
        command = ["mmdebstrap", "--variant=essential", "--mode=root", "--quiet",
                   f"--include=systemd-standalone-sysusers,systemd-standalone-tmpfiles,"
                   f"{','.join(NAMES)}", suite[1], str(self.path), "http://deb.debian.org/debian",
                   f"deb [trusted=yes] copy:{repository} ./"]
        try:
            run(*command)
        except Failed as failed:
            if re.search("Could not resolve|Could not connect|Unable to connect|timed out",
                         str(failed)):
                return "no mirror of Debian can be reached"
            raise
        return None

    @property
    def installed(self):
        return self.why_not is None

    def inside(self, path):
        """How a node names a path of the root."""
        return str(path) if self.installed else f"{self.path}{path}"

    def file(self, path):
        """A path of the root, as this test opens it."""
        return pathlib.Path(f"{self.path}{path}")

    def user(self, name):
        for line in self.file("/etc/passwd").read_text(encoding="utf-8").splitlines():
            words = line.split(":")
            if words[0] == name:
                return int(words[2]), int(words[3])
        raise Failed(f"there is no user {name}")


def root():
    if not hasattr(root, "made"):
        root.made = None
        root.made = Root()
    if root.made is None:
        raise Failed("the packages could not be installed")
    return root.made


def installed():
    if not root().installed:
        skip(root().why_not)
    return root()


# ---------------------------------------------------------------- the unit

def unit():
    """The directives of the unit as (key, value), in order."""
    (file,) = [found for found in (root().file("/usr/lib/systemd/system/obhost@.service"),
                                   root().file("/lib/systemd/system/obhost@.service"))
               if found.exists()][:1]
    lines = file.read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("=", 1)) for line in lines if re.match("[A-Za-z]+=", line)]


def values(key):
    return [value for name, value in unit() if name == key]


def command_lines(key, role, **variables):
    """The commands of ExecStart and its like, for one instance."""
    lines = []
    for line in values(key):
        line = line.replace("%i", role)
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        lines.append([root().inside(word) if word.startswith(("/usr/", "/etc/")) else word
                      for word in shlex.split(line)])
    return lines


# ---------------------------------------------------------------- a unit's walls

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong,
                       ctypes.c_char_p]
CLONE_NEWNS, PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 0x20000, 1, 38, 65
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
ALLOW, ERRNO_EPERM, CMP_EQ = 0x7fff0000, 0x00050001, 4


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64),
                ("b", ctypes.c_uint64)]


def must(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def system_calls(words):
    """The names in systemd's sets of system calls."""
    sets, current = {}, None
    for line in run("systemd-analyze", "syscall-filter").splitlines():
        if re.match("@[a-z-]+$", line):
            current = sets.setdefault(line, [])
        elif current is not None and re.match(r"\s+[@a-z]", line):
            current.append(line.strip())

    def resolve(word):
        return set().union(*map(resolve, sets[word])) if word.startswith("@") else {word}
    return set().union(*map(resolve, words))


def make_filter():
    """What the kernel lets the unit do, as a filter to be loaded by the process; or None."""
    try:
        lib = ctypes.CDLL("libseccomp.so.2")
        allowed = system_calls(values("SystemCallFilter")[0].split() + ["@default"])
    except (OSError, Failed) as error:
        comment(f"without the filter of system calls: {error}")
        return None
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int,
                                           ctypes.c_uint, ctypes.POINTER(Compare)]
    lib.seccomp_load.argtypes = [ctypes.c_void_p]
    made = lib.seccomp_init(ERRNO_EPERM)
    for name in sorted(allowed - {"socket"}):
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            must(lib.seccomp_rule_add_array(made, ALLOW, number, 0, None))
    families = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
    number = lib.seccomp_syscall_resolve_name(b"socket")
    for word in values("RestrictAddressFamilies")[0].split():
        must(lib.seccomp_rule_add_array(made, ALLOW, number, 1,
                                        ctypes.byref(Compare(0, CMP_EQ, families[word], 0))))
    return lambda: must(lib.seccomp_load(made))


class Walls:
    """Does in the child, before it is the node, what systemd does for the unit."""

    def __init__(self):
        self.root = str(root().path).encode()
        self.chroot = root().installed
        self.writable = [b"/var/lib/obhost", b"/var/log/obhost", b"/run/obhost", b"/tmp"]
        self.ids = root().user(values("User")[0]) if self.chroot else None
        self.filter = make_filter()
        equal([values(key) for key in ("ProtectSystem", "MemoryDenyWriteExecute",
                                       "NoNewPrivileges", "PrivateTmp")],
              [["strict"], ["yes"], ["yes"], ["yes"]], "the unit")
        if self.chroot:
            self._make_folders()

    def _make_folders(self):
        for path in self.writable[:3]:
            path = root().file(path.decode())
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, *self.ids)

    def _mount(self):
        must(libc.unshare(CLONE_NEWNS))
        must(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
        must(libc.mount(self.root, self.root, None, MS_BIND, None))
        for path in self.writable:
            path = self.root + path
            must(libc.mount(path, path, None, MS_BIND, None))
        must(libc.mount(b"proc", self.root + b"/proc", b"proc", 0, None))
        must(libc.mount(None, self.root, None, MS_REMOUNT | MS_BIND | MS_RDONLY, None))

    def __call__(self):
        if self.chroot:
            self._mount()
            os.chroot(self.root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(self.ids[1])
            os.setuid(self.ids[0])
        must(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)  # kernels before 6.3 have none
        if self.filter is not None:
            self.filter()


# ---------------------------------------------------------------- nodes

class Service:
    """One instance of the unit."""

    def __init__(self, role):
        self.role = role
        self.manager = Manager(watchdog=1)
        self.log = temp_dir(role) / "log"
        self.process = None
        self.walls = Walls()
        self._configure()
        at_end(self.destroy)

    def _configure(self):
        text = root().file(f"/usr/share/obhost/conf/{self.role}.conf").read_text(encoding="utf-8")
        for port in DEMO_PORTS:
            text = text.replace(f'"port": {port}', f'"port": {ports[port]}')
        if not root().installed:
            folders = [str(folder) for folder in root().path.glob("usr/lib/*/obhost/*")]
            text = text.replace("{", '{\n"module_dirs": ' + json.dumps(folders) + ",", 1)
        root().file("/etc/obhost").mkdir(parents=True, exist_ok=True)
        root().file(f"/etc/obhost/{self.role}.conf").write_text(text, encoding="utf-8")

    def _spawn(self, command, **more):
        state = root().inside("/var/lib/obhost")
        os.makedirs(root().file("/var/lib/obhost"), exist_ok=True)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                cwd=root().path, preexec_fn=self.walls,
                                env={"PATH": "/usr/bin:/bin", "STATE_DIRECTORY": state,
                                     **self.manager.environment}, **more)

    def start(self):
        (command,) = command_lines("ExecStart", self.role)
        with open(self.log, "ab") as log:
            self.process = self._spawn(command, stdout=log, stderr=log)
        self.manager.wait_for("READY")

    def reload(self):
        """The output of the commands; they end at the first one that fails."""
        for command in command_lines("ExecReload", self.role, MAINPID=str(self.process.pid)):
            if command[0].endswith("/kill"):
                run(*command)
                continue
            check_run = self._spawn(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    text=True)
            said = check_run.communicate(timeout=60)[0]
            if check_run.returncode != 0:
                return check_run.returncode, said
        return 0, ""

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self.process = None
        equal(status, 0, f"{self.role}'s exit status")
        self.manager.wait_for("STOPPING")

    def destroy(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def running():
    if not trio:
        ports.update({port: free_port() for port in DEMO_PORTS})
        for role in ROLES:
            trio[role] = Service(role)
        for service in trio.values():
            service.start()
        def linked():
            return "\nobhost_peers_up 2\n" in http_request(ports[21001], "GET", "/metrics").text
        eventually(linked, "the links")
    return trio


def logs(_since):
    return "\n".join(f"---- {role}\n{service.log.read_text(encoding='utf-8')[-3000:]}"
                     for role, service in trio.items() if service.log.exists())


on_failure(logs)

# ---------------------------------------------------------------- the packages


@case("there are the packages, of one version")
def all_of_them():
    equal(sorted(DEBS), sorted(NAMES))
    equal(len({field(deb, "Version") for deb in DEBS.values()}), 1)


@case("obhost provides the ABI of its header, and modules depend on it")
def abi():
    header = (TOP / "include/obhost/obhost.h").read_text(encoding="utf-8")
    major, minor = (re.search(rf"define +OB_ABI_{word} +(\d+)", header)[1]
                    for word in ("MAJOR", "MINOR"))
    equal(field(DEBS["obhost"], "Provides"), f"obhost-abi-{major} (= {major}.{minor})")
    for name in NAMES[2:]:
        depends = field(DEBS[name], "Depends").split(", ")
        contains(depends, f"obhost-abi-{major} (>= {major}.{minor})", name)
        check("obhost" not in depends, f"{name}: {depends}")
    contains(field(DEBS["obhost-dev"], "Depends"), "libjansson-dev")


def contents(name):
    """The files of a package, without the documents that each has."""
    lines = run("dpkg-deb", "-c", DEBS[name]).splitlines()
    paths = [line.split(None, 5)[5].split(" -> ")[0].lstrip(".") for line in lines]
    return [path for path in paths
            if not path.endswith("/") and not path.startswith(f"/usr/share/doc/{name}/")]


@case("each package has its files, and no other")
def files():
    rules = {
        "obhost": r"/etc/logrotate.d/obhost|/usr/bin/.*|(/usr)?/lib/systemd/system/obhost@.service|"
                  r"/usr/lib/(sysusers|tmpfiles).d/obhost.conf|/usr/libexec/obhost/.*|"
                  r"/usr/share/man/.*|/usr/share/obhost/conf/.*\.conf|/usr/share/lintian/.*",
        "obhost-dev": r"/usr/include/obhost/.*\.h|/usr/include/obhost_client\.h|"
                      r"/usr/lib/[^/]*/pkgconfig/obhost[a-z-]*.pc|"
                      r"/usr/lib/[^/]*/lib.*\.a|/usr/share/aclocal/obhost.m4|/usr/share/obhost/.*",
        "obhost-modules-admin": r"/usr/lib/[^/]*/obhost/modules/http_admin\.so",
        "obhost-modules-core": r"/usr/lib/[^/]*/obhost/modules/(?!http_admin|transport_enet)\w+\.so",
        "obhost-modules-enet": r"/usr/lib/[^/]*/obhost/modules/transport_enet\.so",
        "obhost-modules-examples": r"/usr/lib/[^/]*/obhost/examples/\w+\.so",
    }
    for name, rule in rules.items():
        strays = [path for path in contents(name) if not re.fullmatch(rule, path)]
        equal(strays, [], name)
    for name, part in (("obhost", "/usr/bin/obhost"), ("obhost-dev", "obhost/obhost.h"),
                       ("obhost-modules-core", "/proxy.so"),
                       ("obhost-modules-examples", "/login.so")):
        check(any(path.endswith(part) for path in contents(name)), f"{name} has no {part}")


@case("apt installs them, with the user and the folders", timeout=240)
def installation():
    uid, gid = installed().user("obhost")
    check(0 < uid < 1000, uid)
    for path, mode in (("/var/lib/obhost", 0o755), ("/var/log/obhost", 0o750)):
        status = root().file(path).stat()
        equal((status.st_uid, status.st_gid, status.st_mode & 0o777), (uid, gid, mode), path)
    status = root().file("/etc/obhost").stat()
    equal((status.st_uid, status.st_mode & 0o777, list(root().file("/etc/obhost").iterdir())),
          (0, 0o755, []))
    equal(run("chroot", root().path, "dpkg", "--audit"), "")


@case("a module exports ob_module and nothing else", timeout=60)
def exports():
    modules = list(root().path.glob("usr/lib/*/obhost/*/*.so"))
    check(len(modules) > 8, modules)
    for module in modules:
        names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", module).split("\n")
                 if line]
        equal(names, ["ob_module"], module.name)


@case("systemd takes the unit")
def verify():
    if not shutil.which("systemd-analyze"):
        skip("no systemd-analyze")
    instance = installed().file("/etc/systemd/system/obhost@proxy.service")
    instance.parent.mkdir(parents=True, exist_ok=True)
    instance.symlink_to("/lib/systemd/system/obhost@.service")
    said = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
               f"--root={root().path}", "obhost@proxy.service")
    equal([line for line in said.splitlines() if "obhost" in line], [])


# ---------------------------------------------------------------- they run

@case("the trio runs as its units say and serves a client", timeout=60)
def serves():
    running()
    said = run(sys.executable, TOP / "examples/client.py", "--port", ports[20000], "--count", 20,
               "--interval", 0.01, "--quiet")
    equal(said.strip(), "60 answers, 0 failed")
    for service in trio.values():
        service.manager.wait_ping()
    if root().installed:
        for service in trio.values():
            status = pathlib.Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
            equal(re.search(r"Uid:\s+(\d+)", status)[1], str(root().user("obhost")[0]))
            equal(re.search(r"\nSeccomp:\s+(\d)", status)[1], "2" if service.walls.filter else "0")
            equal(re.search(r"NoNewPrivs:\s+(\d)", status)[1], "1")
            equal(re.search(r"CapEff:\s+(\w+)", status)[1].strip("0"), "")


@case("reload takes a good configuration and refuses a bad one, saying where", timeout=60)
def reloads():
    service = running()["service"]
    file = root().file("/etc/obhost/service.conf")
    good = file.read_text(encoding="utf-8")
    equal(service.reload(), (0, ""))
    equal(service.manager.wait_for("RELOADING")["RELOADING"], "1")
    service.manager.wait_for("READY")
    file.write_text(good.replace('"log_level": "info"', '"log_level": "loud"'), encoding="utf-8")
    try:
        status, said = service.reload()
    finally:
        file.write_text(good, encoding="utf-8")
    equal(status, 2)
    contains(said, "service.conf:")
    contains(said, "log_level")


def sdk_environment():
    """What makes pkg-config and autotools find the root's packages and no others of obhost."""
    folders = ":".join(map(str, root().path.glob("usr/lib/*/pkgconfig")))
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith(("PKG_CONFIG", "OB_", "OBHOST", "MAKE", "MFLAGS"))}
    # Not installed, jansson is the machine's own.
    environment["PKG_CONFIG_LIBDIR" if root().installed else "PKG_CONFIG_PATH"] = folders
    return {**environment, "PKG_CONFIG_SYSROOT_DIR": str(root().path),
            "PKG_CONFIG_ALLOW_SYSTEM_CFLAGS": "1", "PKG_CONFIG_ALLOW_SYSTEM_LIBS": "1",
            "ACLOCAL_PATH": str(root().file("/usr/share/aclocal"))}


def sdk(*words):
    return run("pkg-config", *words, "obhost", env=sdk_environment()).strip()


def build(version):
    """A plugin from nothing but what obhost-dev has installed; it says its version."""
    flags = sdk("--cflags").split()
    check(all(str(TOP) not in flag for flag in flags), flags)
    check(f"-I{root().path}/usr/include" in flags, flags)
    folder = temp_dir("plugin")
    (folder / "greet.c").write_text(VERSIONED.replace("@NAME@", "greet"), encoding="utf-8")
    run(*CC.split(), "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror",
        f"-DV={version}", f"-DID={PLUGIN_ID}", *flags, "greet.c", "-o", "greet.so", cwd=folder)
    return folder / "greet.so"


def install_plugin(made):
    folder = sdk("--variable=moduledir").replace(str(root().path), "")
    new = root().file(folder) / ".greet.new"
    shutil.copy(made, new)
    new.chmod(0o644)
    os.replace(new, root().file(folder) / "greet.so")


def administer(path, body):
    answer = http_request(ports[22001], "POST", path, body)
    equal(answer.status, 200, answer)
    return answer.json


@case("a plugin built with obhost-dev alone is loaded by name and swapped under a client",
      timeout=60)
def plugin():
    running()
    equal(sdk("--variable=abi").split(".")[0],
          re.match(r"obhost-abi-(\d+)", field(DEBS["obhost"], "Provides"))[1])
    install_plugin(build(1))
    administer("/modules", {"name": "greet"})
    with Client(ports[20000]) as client:
        equal(client.ask(PLUGIN_ID, {"n": 1}), {"code": 200, "v": 1, "n": 1})
        install_plugin(build(2))
        report = administer("/modules/reload", {"name": "greet"})
        equal([(one["name"], one["to"]["generation"]) for one in report["modules"]], [("greet", 2)])
        equal(client.ask(PLUGIN_ID, {"n": 2}), {"code": 200, "v": 2, "n": 2})


@case("a project made by `obhost new` builds from obhost-dev and passes its own tests",
      timeout=180)
def project():
    if not shutil.which("autoreconf") or not shutil.which("libtoolize"):
        skip("no autotools")
    (libraries,) = root().path.glob("usr/lib/*/obhost")
    parent = temp_dir("project")
    folder = parent / "greeter"
    environment = sdk_environment()
    run(root().file("/usr/bin/obhost"), "new", "greeter", "--dir", parent,
        env={**environment, "OBHOST_PROJECT_DIR": str(root().file("/usr/share/obhost/project"))})
    run("./autogen.sh", cwd=folder, env=environment)
    run("./configure", "--enable-werror", f"OBHOST={root().path}/usr/bin/obhost",
        f"OBBENCH={root().path}/usr/bin/obbench", f"OBHOST_MODULE_PATH={libraries}/modules",
        f"OBHOST_EXAMPLE_PATH={libraries}/examples", cwd=folder, env=environment)
    said = run("make", "check", cwd=folder, env=environment)
    counts = dict(re.findall(r"^# (PASS|SKIP|FAIL|ERROR): +(\d+)$", said, re.M))
    equal(counts, {"PASS": "2", "SKIP": "0", "FAIL": "0", "ERROR": "0"}, said)


@case("the trio stops in order")
def stops():
    for service in running().values():
        service.stop()


@case("purged, nothing is left but state and logs", timeout=60)
def purge():
    for role in ROLES:
        installed().file(f"/etc/obhost/{role}.conf").unlink(missing_ok=True)
    for file in root().path.glob("usr/lib/*/obhost/modules/greet.so"):
        file.unlink()
    root().file("/etc/systemd/system/obhost@proxy.service").unlink(missing_ok=True)
    said = run("chroot", root().path, "dpkg", "--purge", *NAMES)
    check("warning" not in said, said)
    left = [path for path in root().path.glob("*/**/*obhost*")
            if not str(path).startswith((f"{root().path}/var", f"{root().path}/run",
                                         f"{root().path}/tmp"))]
    equal(left, [])


if __name__ == "__main__":
    find_debs()
    main(timeout=600)
