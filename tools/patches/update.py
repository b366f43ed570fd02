#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Write the new-file parts of the patches from the source folders.

usage: tools/patches/update.py [--check]

New files live once, as readable files in the source folders; edits of files
that exist upstream live only in the patches. files.map beside this script
says which patch adds which file:

    <patch below patches/>  <path in the target's tree>  <path in this repository>

A patch consists of a message, a line "---", optional notes and a diffstat,
the edits of upstream files, and the new files, sorted by path. This script
keeps the message, the notes and the edits byte for byte, writes the new files
and the diffstat anew, and drops new files that files.map does not name.
Edits that quilt has written ("Index:" lines, time stamps, no git headers) are
brought into git's form.

The source folders have the files as the default kernel needs them. What differs
in the new files for another one is in linux-VERSION/new-files.diff, which is
applied to them here and is no patch of a series: so each patch of that series has
its files as they have to be, and builds. A patch there of the same name as one in
linux/ has that one's message; what is to be said of the difference goes into its
notes.

    --check   change nothing; name what differs, exit status 1 if anything does
"""
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATCHES = os.path.join(TOP, "patches")
MAP = os.path.join(TOP, "tools", "patches", "files.map")
STAT_WIDTH = 72     # of git format-patch
DIFF = "new-files.diff"
DEFAULT = "linux"   # folder of the default kernel's patches


class Error(Exception):
    """A mistake in files.map or in a patch, told to the user in one line."""


class Section:
    """The diff of one file: its path and its lines, newlines included."""

    def __init__(self, path, lines):
        self.path = path
        self.lines = lines

    def new_mode(self):
        """Mode of a file that this adds ("100644"), None for an edit."""
        for line in self.lines:
            if line.startswith("new file mode "):
                return line.split()[3]
            if line.startswith("@@ "):
                break
        return None

    def changes(self):
        """Number of lines added and removed."""
        added = removed = 0
        for kind in hunk_lines(self.lines):
            added += kind == "+"
            removed += kind == "-"
        return added, removed


def hunk_lines(lines):
    """First characters of the lines inside hunks."""
    old = new = 0
    for line in lines:
        if old > 0 or new > 0:
            kind = line[0] if line[0] in "+-\\" else " "
            old -= kind in "- "
            new -= kind in "+ "
            yield kind
            continue
        match = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", line)
        if match:
            old, new = (int(n) if n is not None else 1 for n in match.groups())


def read_map():
    """files.map as {patch: {target path: path in this repository}}."""
    result = {}
    with open(MAP, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            where = "files.map:%d: " % number
            if len(words) != 3:
                raise Error(where + "three words expected")
            patch, target, source = words
            if not os.path.isfile(os.path.join(PATCHES, patch)):
                raise Error(where + "no patch patches/" + patch)
            if not os.path.isfile(os.path.join(TOP, source)):
                raise Error(where + "no file " + source)
            if target in result.setdefault(patch, {}):
                raise Error(where + target + " is there twice")
            result[patch][target] = source
    return result


def read_diffs():
    """All new-files.diff as {folder: {target path: its diff}}."""
    result = {}
    for folder in sorted(os.listdir(PATCHES)):
        name = os.path.join(PATCHES, folder, DIFF)
        if not os.path.isfile(name):
            continue
        with open(name, encoding="utf-8", newline="") as file:
            _, _, sections = split(folder + "/" + DIFF, file.read())
        result[folder] = {section.path: section for section in sections}
    return result


def all_patches():
    """Paths below patches/ of all patches."""
    for folder, _, names in sorted(os.walk(PATCHES)):
        for name in sorted(names):
            if name.endswith(".patch"):
                yield os.path.relpath(os.path.join(folder, name), PATCHES)


def starts_section(lines, i):
    """Does a file's diff begin at line i? (Outside of hunks only.)"""
    return (lines[i].startswith(("diff --git ", "Index: ")) or
            (lines[i].startswith("--- ") and i + 1 < len(lines) and
             lines[i + 1].startswith("+++ ")))


def split(patch, text):
    """A patch as (message with "---" line, notes, sections)."""
    lines = text.splitlines(keepends=True)
    end = 0
    while end < len(lines) and not starts_section(lines, end):
        end += 1
    head = lines[:end]
    if "---\n" not in head:
        raise Error("patches/%s: no line \"---\" between message and diff" % patch)
    dashes = len(head) - 1 - head[::-1].index("---\n")
    message, notes = head[:dashes + 1], head[dashes + 1:]

    sections = []
    i = end
    while i < len(lines):
        if lines[i].strip() in ("", "--") or re.match(r"\d+\.\d+", lines[i]):
            i += 1      # git's signature, blank lines between quilt's diffs
            continue
        if not starts_section(lines, i):
            raise Error("patches/%s:%d: not a diff: %s" % (patch, i + 1, lines[i].rstrip()))
        start = i
        # headers, up to the first hunk or the next file
        while i < len(lines) and not lines[i].startswith("@@ "):
            i += 1
            if (i < len(lines) and lines[i].startswith("diff --git ") or
                    i < len(lines) and lines[i].startswith("Index: ")):
                break
        header = lines[start:i]
        start = i
        while i < len(lines) and lines[i].startswith("@@ "):
            i = hunk_end(lines, i)
        sections.append(make_section(patch, header, lines[start:i]))
    return message, notes, sections


def hunk_end(lines, i):
    """Index behind the hunk that begins at line i."""
    match = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", lines[i])
    if not match:
        return i + 1
    old, new = (int(n) if n is not None else 1 for n in match.groups())
    i += 1
    while i < len(lines) and (old > 0 or new > 0):
        kind = lines[i][0]
        if kind != "\\":
            old -= kind != "+"
            new -= kind != "-"
        i += 1
    if i < len(lines) and lines[i].startswith("\\"):
        i += 1
    return i


def make_section(patch, header, hunks):
    """One file's diff, its header brought into git's form."""
    old = new = None
    for line in header:
        if line.startswith("--- "):
            old = line[4:].split("\t")[0].strip()
        elif line.startswith("+++ "):
            new = line[4:].split("\t")[0].strip()
    if header[0].startswith("diff --git "):
        path = header[0].split()[3].split("/", 1)[1]
        return Section(path, header + hunks)
    if not old or not new or not hunks:
        raise Error("patches/%s: diff without names or hunks: %s" % (patch, header[0].rstrip()))
    path = (old if new == "/dev/null" else new).split("/", 1)[1]
    lines = ["diff --git a/%s b/%s\n" % (path, path)]
    if old == "/dev/null" or hunks[0].startswith("@@ -0,0 "):
        lines.append("new file mode 100644\n")
        old = "/dev/null"
    elif new == "/dev/null":
        lines.append("deleted file mode 100644\n")
    lines += ["--- %s\n" % (old if old == "/dev/null" else "a/" + path),
              "+++ %s\n" % (new if new == "/dev/null" else "b/" + path)]
    return Section(path, lines + hunks)


def changed(path, text, diff):
    """The text of the new file path with its section of new-files.diff applied."""
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "file")
        with open(name, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        # lines may have moved, but their context must be there
        done = subprocess.run(["patch", "-s", "-F0", "-N", "-r", "-",
                               "--no-backup-if-mismatch", name],
                              input="".join(diff.lines), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True,
                              check=False)
        if done.returncode:
            raise Error("%s does not apply to the source of %s:\n%s" %
                        (DIFF, path, done.stdout.strip()))
        with open(name, encoding="utf-8", newline="") as file:
            return file.read()


def new_file(path, source, diff=None):
    """The diff that adds the repository's file source, changed by diff, as path."""
    name = os.path.join(TOP, source)
    with open(name, encoding="utf-8", newline="") as file:
        text = file.read()
    lines = (changed(path, text, diff) if diff else text).split("\n")
    complete = lines[-1] == ""
    if complete:
        lines.pop()
    if not lines:
        raise Error(source + " is empty: patch(1) can't add it")
    mode = "100755" if os.access(name, os.X_OK) else "100644"
    count = "1" if len(lines) == 1 else "1,%d" % len(lines)
    out = ["diff --git a/%s b/%s\n" % (path, path),
           "new file mode %s\n" % mode,
           "--- /dev/null\n",
           "+++ b/%s\n" % path,
           "@@ -0,0 +%s @@\n" % count]
    out += ["+%s\n" % line for line in lines]
    if not complete:
        out.append("\\ No newline at end of file\n")
    return Section(path, out)


def scale(number, width, largest):
    """As git scales its bars: at least one character for any change."""
    return 1 + number * (width - 1) // largest if number else 0


def diffstat(sections):
    """Lines as git format-patch prints them."""
    changes = [section.changes() for section in sections]
    largest = max(sum(pair) for pair in changes)
    digits = len(str(largest))
    name_width = max(len(section.path) for section in sections)
    bar_width = largest
    if name_width + digits + 6 + bar_width > STAT_WIDTH:
        bar_width = max(min(bar_width, STAT_WIDTH * 3 // 8 - digits - 6), 6)
        if name_width > STAT_WIDTH - digits - 6 - bar_width:
            name_width = STAT_WIDTH - digits - 6 - bar_width
        else:
            bar_width = STAT_WIDTH - digits - 6 - name_width

    lines = []
    for section, (added, removed) in zip(sections, changes):
        name = section.path
        if len(name) > name_width:
            name = name[len(name) - name_width + 3:]
            slash = name.find("/")
            name = "..." + (name[slash:] if slash >= 0 else name)
        plus, minus = added, removed
        if bar_width <= largest:
            total = scale(added + removed, bar_width, largest)
            if total < 2 and added and removed:
                total = 2
            if added < removed:
                plus = scale(added, bar_width, largest)
                minus = total - plus
            else:
                minus = scale(removed, bar_width, largest)
                plus = total - minus
        line = " %-*s | %*d %s%s" % (name_width, name, digits, added + removed,
                                     "+" * plus, "-" * minus)
        lines.append(line.rstrip() + "\n")

    added = sum(pair[0] for pair in changes)
    removed = sum(pair[1] for pair in changes)
    line = " %d file%s changed" % (len(sections), "" if len(sections) == 1 else "s")
    if added or not removed:
        line += ", %d insertion%s(+)" % (added, "" if added == 1 else "s")
    if removed or not added:
        line += ", %d deletion%s(-)" % (removed, "" if removed == 1 else "s")
    lines.append(line + "\n")
    for section in sections:
        if section.new_mode():
            lines.append(" create mode %s %s\n" % (section.new_mode(), section.path))
    return lines


STAT_LINE = re.compile(r" \S.* \|\s+\d+ ?\+*-*$| \d+ files? changed(, .*)?$|"
                       r" (create|delete) mode \d+ |^\s*$")


def message_of(patch, message):
    """The message of a patch: that of the default kernel's patch of its name."""
    folder, name = os.path.split(patch)
    original = os.path.join(PATCHES, DEFAULT, name)
    if not folder.startswith(DEFAULT + "-") or not os.path.isfile(original):
        return message
    with open(original, encoding="utf-8", newline="") as file:
        return split(os.path.join(DEFAULT, name), file.read())[0]


def updated(patch, text, files, diffs):
    """The text of a patch as it should be, and what new files it drops."""
    message, notes, sections = split(patch, text)
    message = message_of(patch, message)
    notes = [line for line in notes if not STAT_LINE.match(line)]
    edits = [section for section in sections if not section.new_mode()]
    dropped = [section.path for section in sections
               if section.new_mode() and section.path not in files]
    for section in edits:
        if section.path in files:
            raise Error("patches/%s edits %s, which files.map has it add" % (patch, section.path))
    sections = edits + [new_file(path, files[path], diffs.get(path)) for path in sorted(files)]
    if not sections:
        raise Error("patches/%s changes nothing" % patch)
    out = message + notes + ["\n"] * bool(notes) + diffstat(sections) + ["\n"]
    for section in sections:
        out += section.lines
    return "".join(out), dropped


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    drift = False
    try:
        files = read_map()
        diffs = read_diffs()
        for folder in diffs:
            added = {path for patch in files if os.path.dirname(patch) == folder
                     for path in files[patch]}
            for path in sorted(set(diffs[folder]) - added):
                raise Error("%s/%s: no patch there adds %s" % (folder, DIFF, path))
        for patch in all_patches():
            name = os.path.join(PATCHES, patch)
            with open(name, encoding="utf-8", newline="") as file:
                old = file.read()
            new, dropped = updated(patch, old, files.get(patch, {}),
                                   diffs.get(os.path.dirname(patch), {}))
            for path in dropped:
                print("patches/%s: drops %s, which files.map does not name" % (patch, path))
            if new == old:
                continue
            drift = True
            print("patches/%s: %s" % (patch, "differs from the source folders" if check
                                      else "written"))
            if not check:
                with open(name + ".new", "w", encoding="utf-8", newline="") as file:
                    file.write(new)
                os.replace(name + ".new", name)
    except Error as error:
        sys.exit("update.py: %s" % error)
    if check and drift:
        sys.exit(1)


if __name__ == "__main__":
    main()
