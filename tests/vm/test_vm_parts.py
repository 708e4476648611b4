"""The parts that need no machine: the cache's rules, where files go, which drivers load first."""

import dataclasses
import json
import subprocess

import pytest

from vm import apt_sources, files, image, initramfs, machine, qemu


def test_only_debians_own_archives_count():
    listing = ("Debian|Debian|http://mirror/debian/\nDebian|Debian|http://other/debian/\n"
               "Debian|Debian-Security|http://mirror/security/\nSomebody|Debian|http://somebody/\n$(ORIGIN)|$(LABEL)|\n")
    assert apt_sources.parse_archives(listing) == {"Debian": "http://mirror/debian/",
                                                   "Debian-Security": "http://mirror/security/"}


def test_a_module_is_loaded_after_what_it_depends_on(tmp_path):
    parts = {"a": "b,c-d", "b": "c_d", "c_d": "", "alone": ""}
    for name, depends in parts.items():
        (tmp_path / name).write_bytes(b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0")
    paths = {name: tmp_path / name for name in parts}
    assert initramfs.load_order(["a", "alone"], paths, set()) == ["c_d", "b", "a", "alone"]
    assert initramfs.load_order(["a"], paths, {"c_d"}) == ["b", "a"]
    with pytest.raises(LookupError, match="no module 'absent'"):
        initramfs.load_order(["absent"], paths, set())


def test_a_changed_recipe_has_another_name():
    base = image.FLAVOURS["base"]
    assert image.recipe_key(base) == image.recipe_key(dataclasses.replace(base))
    assert image.recipe_key(base) != image.recipe_key(dataclasses.replace(base, packages=base.packages + ("gdb",)))


@pytest.mark.parametrize("manifest", [None, "", "[]", "{}", '{"sizes": {}}', '{"sizes": []}', '{"sizes": {"kernel": 4}}',
                                      '{"sizes": {"kernel": 5, "root": 1}}'])
def test_a_damaged_image_is_not_complete(tmp_path, manifest):
    (tmp_path / "kernel").write_text("12345")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert not image.is_complete(tmp_path)


def test_an_image_with_all_it_recorded_is_complete(tmp_path):
    (tmp_path / "kernel").write_text("12345")
    (tmp_path / "manifest.json").write_text(json.dumps({"sizes": {"kernel": 5}}))
    assert image.is_complete(tmp_path)


def test_an_unknown_flavour_names_the_known_ones():
    with pytest.raises(image.ImageError, match="no image flavour 'bsae'; there are: base"):
        image.ensure("bsae")


@pytest.mark.parametrize(("destination", "expected"), [
    ("/memgov/tests/x", ("/memgov", "tests/x")),
    ("/memgov", ("/memgov", "")),
    ("/etc/policy.yaml", ("/etc/policy.yaml", "")),
    ("/usr/local/bin/memgovd", ("/usr/local/bin/memgovd", "")),
])
def test_neighbours_outside_the_system_share_a_mount(destination, expected):
    assert files.mount_point(destination) == expected


@pytest.mark.parametrize("destination", ["", "relative", "/", "/a/../etc", "/with space"])
def test_a_destination_that_cannot_be_bound_is_refused(destination):
    with pytest.raises(ValueError, match="must be an absolute path"):
        files.mount_point(destination)


def test_only_linked_programs_are_staged(tmp_path):
    def elf(path, kind):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x7fELF" + bytes(12) + bytes([kind, 0]))
        path.chmod(0o755)

    elf(tmp_path / "room/program", 3)
    elf(tmp_path / "room/static", 2)
    elf(tmp_path / "room/object.o", 1)
    elf(tmp_path / "CMakeFiles/compiler_probe", 3)
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o755)
    assert [path.name for path in files.programs(tmp_path)] == ["program", "static"]


def test_the_files_disk_is_sound_and_hard_links_are_no_trouble(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_text("x" * 10000)
    (source / "two").hardlink_to(source / "one")
    (source / "link").symlink_to("one")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    disk = files.make_disk([(source, "/memgov/a"), (source / "one", "/etc/one"), (source / "two", "/memgov/b/c")], scratch)
    check = subprocess.run(["e2fsck", "-f", "-n", str(disk)], env={"PATH": image.tool_path()}, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    assert (source / "one").read_text() == "x" * 10000  # the sources are untouched


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="/nowhere/file"):
        files.make_disk([("/nowhere/file", "/etc/x")], tmp_path)


def test_a_command_is_quoted_for_the_shell():
    script = machine.job_script(["echo", "a b", "$HOME"], {"NAME": "it's"}, "/some where")
    assert script == "export NAME='it'\"'\"'s'\ncd '/some where' || exit 126\necho 'a b' '$HOME'\n"


def test_the_end_of_a_console_begins_with_the_panic_however_long_its_trace():
    trace = [f"[    4.0]  ? frame_{i}+0x1" for i in range(60)]
    console = "\n".join(["booted", "[    3.9] Kernel panic - not syncing: why", *trace])
    assert qemu.tail_of(console, 40).splitlines() == console.splitlines()[1:]
    assert qemu.tail_of("a\nb\r\nc", 2) == "b\nc"
    assert qemu.tail_of("", 2) == ""
