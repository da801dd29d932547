#!/usr/bin/env python3
"""Make the C code of the libvirt programs out of proto/schema.

For each program: a header with the procedure numbers, the structures and the names of their descriptions; a source with
the descriptions and the rows of the procedure table. proto/xdr.h and proto/procedure.h say what these are.

Everything that can be wrong in a table is refused here, with its file and line: the build fails, not the daemon.
"""

import argparse
import pathlib
import re
import sys

PROGRAMS = ["remote", "qemu", "lxc", "admin", "log", "lock"]
OWN_PROGRAMS = ["node"]  # between daemons; behind the others in enum vq_program
COLUMNS = ("number name api args reply kind priority auth readonly stream route object acl filter since").split()
NESTING_MAX = 8

# name: kind, C type, bytes on the wire
SCALARS = {
    "i8": ("I8", "int8_t", 4), "u8": ("U8", "uint8_t", 4), "u16": ("U16", "uint16_t", 4),
    "i32": ("I32", "int32_t", 4), "u32": ("U32", "uint32_t", 4), "i64": ("I64", "int64_t", 8),
    "u64": ("U64", "uint64_t", 8), "f64": ("F64", "double", 8),
}
TYPED_PARAM_WIRE_MIN = 12  # empty name, kind, smallest value

ROUTES = {"SESSION", "HOST", "READ", "LIVE", "REPLICATE", "OWNER", "GATHER", "ARRIVAL"}
STREAMS = {"none", "up", "down", "both"}

# The type of a first argument, and the object that it names.
OBJECTS = {
    "domain": "DOMAIN", "network": "NETWORK", "storage_pool": "STORAGE_POOL", "storage_vol": "STORAGE_VOL",
    "secret": "SECRET", "node_device": "NODE_DEVICE", "interface": "INTERFACE", "nwfilter": "NWFILTER",
    "nwfilter_binding": "NWFILTER_BINDING", "network_port": "NETWORK_PORT", "domain_snapshot": "SNAPSHOT",
    "domain_checkpoint": "CHECKPOINT",
}

KEYWORDS = set("auto break case char const continue default do double else enum extern float for goto if inline int long "
               "register restrict return short signed sizeof static struct switch typedef union unsigned void "
               "volatile while".split())


class SchemaError(Exception):
    pass


def c_name(name):
    return name + "_" if name in KEYWORDS else name


def table_lines(path):
    """The lines that say something, with their place for messages."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            yield f"{path.name}:{number}", line


class Field:
    """One name:type of a structure."""

    def __init__(self, schema, program, text, place):
        match = re.fullmatch(r"(\w+):(\w+)(?:\[(\w+)\])?(\?)?", text)
        if not match:
            raise SchemaError(f"{place}: cannot read the field '{text}'")
        self.name, self.base, bound, optional = match.groups()
        self.shape = "OPTIONAL" if optional else "PLAIN"
        self.struct = None
        self.max = 0
        if self.base == "char":
            self.kind, self.max = "CHARS", int(bound or "0")
        elif self.base == "bytes":
            self.kind, self.max = "BYTES", schema.limit(bound, place)
        elif self.base in SCALARS:
            self.kind = SCALARS[self.base][0]
        elif self.base in ("str", "uuid", "typed_param"):
            self.kind = self.base.upper()
        else:
            self.kind = "STRUCT"
        if bound and self.base not in ("char", "bytes"):
            self.shape, self.max = "ARRAY", schema.limit(bound, place)
        self.string_max = program.string_max
        self.place = place
        if optional and (bound or self.kind not in ("STR", "STRUCT")):
            raise SchemaError(f"{place}: only strings and structures can be optional")

    def wire_min(self):
        if self.shape != "PLAIN" or self.kind in ("STR", "BYTES"):
            return 4
        if self.kind == "UUID":
            return 16
        if self.kind == "CHARS":
            return 4 * self.max
        if self.kind == "TYPED_PARAM":
            return TYPED_PARAM_WIRE_MIN
        if self.kind == "STRUCT":
            return self.struct.wire_min()
        return SCALARS[self.base][2]

    def declaration(self):
        name = c_name(self.name)
        element = {"STR": "const char *", "TYPED_PARAM": "struct vq_typed_param "}.get(self.kind)
        if self.kind == "STRUCT":
            element = f"struct {self.struct.c_name} "
        elif self.kind == "UUID":
            return [f"uint8_t {name}[16];"]
        elif self.kind == "CHARS":
            return [f"char {name}[{self.max}];"]
        elif self.kind == "BYTES":
            return [f"uint32_t n_{self.name}; /* at most {self.max} */", f"const uint8_t *{name};"]
        elif element is None:
            element = SCALARS[self.base][1] + " "
        if self.shape == "ARRAY":
            return [f"uint32_t n_{self.name}; /* at most {self.max} */", f"{element}*{name};"]
        if self.shape == "OPTIONAL":
            return [f"{element}{'' if self.kind == 'STR' else '*'}{name}; /* NULL: absent */"]
        return [f"{element}{name};"]

    def description(self, owner):
        cells = [f'"{self.name}"', f"VQ_XDR_{self.kind}", f"VQ_XDR_{self.shape}",
                 f"offsetof(struct {owner}, {c_name(self.name)})"]
        counted = self.shape == "ARRAY" or self.kind == "BYTES"
        cells.append(f"offsetof(struct {owner}, n_{self.name})" if counted else "0")
        cells.append(str(self.max))
        cells.append(str(self.string_max if self.kind in ("STR", "TYPED_PARAM") else 0))
        cells.append(f"&{self.struct.xdr_name}" if self.struct else "NULL")
        return "{" + ", ".join(cells) + "}"


class Struct:
    def __init__(self, program, name, fields, place):
        self.program, self.name, self.fields, self.place = program, name, fields, place
        self.c_name = f"vq_{program.name}_{name}"
        self.xdr_name = f"vq_xdr_{program.name}_{name}"
        names = [f.name for f in fields]
        if len(set(names)) != len(names):
            raise SchemaError(f"{place}: a field of {name} is there twice")

    def wire_min(self):
        return sum(field.wire_min() for field in self.fields)

    def depth(self, above=()):
        if self in above:
            raise SchemaError(f"{self.place}: {self.name} contains itself")
        return 1 + max((f.struct.depth(above + (self,)) for f in self.fields if f.struct), default=0)


class Procedure:
    def __init__(self, cells, place):
        self.place = place
        for column, cell in zip(COLUMNS, cells):
            setattr(self, column, cell)
        self.args_struct = self.ret_struct = None


class Program:
    def __init__(self, name):
        self.name = name
        self.structs = {}
        self.procedures = []


class Schema:
    def __init__(self, folder):
        self.limits = {}
        self.flags = {}
        for place, line in table_lines(folder / "limits"):
            name, value = line.split()
            if name in self.limits:
                raise SchemaError(f"{place}: {name} is there twice")
            self.limits[name] = int(value)
        for place, line in table_lines(folder / "flags"):
            name, value = line.split()
            self.flags[name] = int(value)
        self.programs = {name: Program(name) for name in PROGRAMS + OWN_PROGRAMS}
        for program in self.programs.values():
            self.read_head(program, folder / f"{program.name}.table")
        for place, line in table_lines(folder / "types"):
            self.read_type(place, line)
        for program in self.programs.values():
            self.read_procedures(program, folder / f"{program.name}.table")
        for program in self.programs.values():
            self.resolve(program)

    def limit(self, name, place):
        if name and name.isdigit():
            return int(name)
        if name not in self.limits:
            raise SchemaError(f"{place}: no bound, or no such bound: {name}")
        return self.limits[name]

    def read_head(self, program, path):
        for place, line in table_lines(path):
            words = line.split()
            if words[0] == "program":
                _, program.wire, program.version, string = words
                program.string_max = self.limit(string, place)
                return
        raise SchemaError(f"{path.name}: no line 'program'")

    def read_type(self, place, line):
        program_name, name, fields = line.split()
        program = self.programs[program_name]
        self.add_struct(program, name, fields, place)

    def add_struct(self, program, name, fields, place):
        if name in program.structs:
            raise SchemaError(f"{place}: the structure {name} is there twice")
        made = Struct(program, name, [Field(self, program, f, place) for f in fields.split(",")], place)
        program.structs[name] = made
        return made

    def read_procedures(self, program, path):
        for place, line in table_lines(path):
            words = line.split()
            if words[0] == "program":
                continue
            if words[0] == "columns":
                if words[1:] != COLUMNS:
                    raise SchemaError(f"{place}: the columns are {' '.join(COLUMNS)}")
                continue
            if len(words) != len(COLUMNS):
                raise SchemaError(f"{place}: {len(words)} cells, {len(COLUMNS)} wanted: none may be empty")
            self.add_procedure(program, Procedure(words, place))

    def add_procedure(self, program, row):
        if int(row.number) != len(program.procedures) + 1:
            raise SchemaError(f"{row.place}: number {row.number} out of order")
        checks = [(row.kind in ("call", "event"), "kind"), (row.priority in ("high", "low"), "priority"),
                  (row.auth in ("yes", "no"), "auth"), (row.stream in STREAMS, "stream"), (row.route in ROUTES, "route"),
                  (row.object == "NONE" or row.object in OBJECTS.values(), "object"),
                  ((row.since == "-") if program.name in OWN_PROGRAMS else re.fullmatch(r"\d+\.\d+\.\d+", row.since), "since"),
                  (row.kind == "call" or row.args != "-", "args"),
                  (row.kind == "event" or row.readonly != "-", "readonly"),
                  (row.filter == "-" or re.fullmatch(r"\w+:\w+", row.filter), "filter")]
        for good, what in checks:
            if not good:
                raise SchemaError(f"{row.place}: {row.name}: bad {what}")
        suffix = "args" if row.kind == "call" else "msg"
        if row.args != "-":
            row.args_struct = self.add_struct(program, f"{row.name}_{suffix}", row.args, row.place)
        if row.reply != "-":
            row.ret_struct = self.add_struct(program, f"{row.name}_ret", row.reply, row.place)
        self.check_object(row)
        program.procedures.append(row)

    @staticmethod
    def check_object(row):
        """The object must be what the first argument names, and the other way round."""
        if row.kind == "event":
            return
        first = row.args_struct.fields[0] if row.args_struct else None
        named = "NONE"
        if first and first.kind == "STRUCT" and first.shape == "PLAIN":
            named = OBJECTS.get(first.base, "NONE")
        by_name = row.object == "NODE_DEVICE" and first and first.kind == "STR"
        if row.object != named and not by_name:
            raise SchemaError(f"{row.place}: {row.name}: object {row.object}, but the first argument says {named}")

    def resolve(self, program):
        for struct in program.structs.values():
            for field in struct.fields:
                if field.kind != "STRUCT":
                    continue
                field.struct = program.structs.get(field.base) or self.programs["remote"].structs.get(field.base)
                if field.struct is None:
                    raise SchemaError(f"{field.place}: no type {field.base}")
        for struct in program.structs.values():
            if struct.depth() > NESTING_MAX:
                raise SchemaError(f"{struct.place}: {struct.name} nests too deeply")

    def flag(self, name, place):
        """The C text for a flag: its public name, or its value where the oldest header lacks it."""
        if not re.fullmatch(r"VIR_[A-Z0-9_]+", name):
            raise SchemaError(f"{place}: bad flag '{name}'")
        return f"{self.flags[name]} /* {name} */" if name in self.flags else name

    def flag_set(self, text, place):
        return " | ".join(self.flag(name, place) for name in text.split("|"))


def by_value_order(structs):
    """A structure comes behind those that it holds by value."""
    done, order = set(), []

    def visit(struct):
        if struct in done:
            return
        done.add(struct)
        for field in struct.fields:
            if field.struct and field.struct.program is struct.program:
                visit(field.struct)
        order.append(struct)

    for struct in structs:
        visit(struct)
    return order


def write_header(program):
    upper = program.name.upper()
    out = [f"/* Made by proto/generate.py from proto/schema: the program {program.name}. */", "#pragma once", "",
           "#include <stdint.h>", "", '#include "proto/xdr.h"']
    if program.name in ("qemu", "lxc", *OWN_PROGRAMS):
        out.append('#include "proto/gen/remote.h"')
    out += ["", f"enum vq_{program.name}_procedure {{"]
    out += [f"    VQ_{upper}_{p.name.upper()} = {p.number}," for p in program.procedures]
    out += ["};", ""]
    order = by_value_order(program.structs.values())
    for struct in order:
        out.append(f"struct {struct.c_name} {{")
        for field in struct.fields:
            out += ["    " + line for line in field.declaration()]
        out += ["};", ""]
    out += [f"extern const struct vq_xdr_struct {s.xdr_name};" for s in order]
    return "\n".join(out) + "\n"


def acl_rule(schema, text, row):
    """object:permission[:FLAG or :!FLAG|OTHER][::argument:VALUE]"""
    match = re.fullmatch(r"(\w+):(\w+)(?::(!?)([A-Z][A-Z0-9_|]+))?(?:::(\w+):([A-Z0-9_]+))?", text)
    if not match:
        raise SchemaError(f"{row.place}: {row.name}: cannot read the access rule '{text}'")
    obj, permission, negated, flags, argument, value = match.groups()
    cells = [f'.object = "{obj}"', f'.permission = "{permission}"']
    if flags and negated:
        none, _, some = flags.partition("|")
        cells.append(f".flags_none = {schema.flag(none, row.place)}")
        if some:
            cells.append(f".flags_any = {schema.flag_set(some, row.place)}")
    elif flags:
        cells.append(f".flags_any = {schema.flag_set(flags, row.place)}")
    if argument:
        check_scalar(row, argument)
        cells.append(f'.param = "{argument}", .param_value = {schema.flag(value, row.place)}')
    return "{" + ", ".join(cells) + "}"


def check_scalar(row, argument):
    fields = row.args_struct.fields if row.args_struct else []
    if not any(f.name == argument and f.kind in ("I32", "U32", "I64", "U64") and f.shape == "PLAIN" for f in fields):
        raise SchemaError(f"{row.place}: {row.name} has no number '{argument}'")


def readonly_cells(schema, row):
    if row.readonly in ("no", "-"):
        return [".allowed_readonly = false"]
    if row.readonly == "yes":
        return [".allowed_readonly = true"]
    word, _, condition = row.readonly.partition(",but:")
    if word != "yes" or not condition:
        raise SchemaError(f"{row.place}: {row.name}: bad readonly")
    if "=" in condition:
        argument, _, value = condition.partition("=")
        check_scalar(row, argument)
        return [".allowed_readonly = true", f'.readonly_denied_param = "{argument}"',
                f".readonly_denied_value = {schema.flag(value, row.place)}"]
    return [".allowed_readonly = true", f".readonly_denied_flags = {schema.flag_set(condition, row.place)}"]


def procedure_row(schema, program, row):
    major, minor, micro = (0, 0, 0) if row.since == "-" else (int(part) for part in row.since.split("."))
    cells = [f".number = {row.number}", f".program = VQ_PROGRAM_{program.name.upper()}", f'.name = "{row.name}"',
             f'.api = "{row.name if row.api == "-" else row.api}"']
    if row.args_struct:
        cells.append(f".args = &{row.args_struct.xdr_name}")
    if row.ret_struct:
        cells.append(f".ret = &{row.ret_struct.xdr_name}")
    cells.append(f".is_event = {'true' if row.kind == 'event' else 'false'}")
    cells.append(f".is_high_priority = {'true' if row.priority == 'high' else 'false'}")
    cells.append(f".needs_auth = {'true' if row.auth == 'yes' else 'false'}")
    cells += readonly_cells(schema, row)
    flags = [f for f in (row.args_struct.fields if row.args_struct else []) if f.name == "flags"]
    if flags and row.kind == "call":
        if flags[0].kind not in ("U32", "U64"):
            raise SchemaError(f"{row.place}: {row.name}: flags of a strange type")
        cells.append(f".flags_offset = offsetof(struct {row.args_struct.c_name}, flags)")
        cells.append(f".flags_size = {4 if flags[0].kind == 'U32' else 8}")
    else:
        cells.append(".flags_offset = -1")
    cells += [f".stream = VQ_STREAM_{row.stream.upper()}", f".route = VQ_ROUTE_{row.route}",
              f".object = VQ_OBJECT_{row.object}"]
    if row.acl != "-":
        cells.append(f".acl = acl_{row.name}, .n_acl = VQ_N_ELEMENTS(acl_{row.name})")
    if row.filter != "-":
        cells.append(f'.acl_filter = "{row.filter}"')
    cells.append(f".since = {major * 1000000 + minor * 1000 + micro}")
    return f"    [{row.number}] = {{" + ", ".join(cells) + "},"


def write_source(schema, program):
    out = [f"/* Made by proto/generate.py from proto/schema: the program {program.name}. */",
           f'#include "proto/gen/{program.name}.h"', "", "#include <stddef.h>", "", "#include <libvirt/libvirt.h>", "",
           '#include "proto/gen/programs.h"', ""]
    for struct in by_value_order(program.structs.values()):
        out.append(f"static const struct vq_xdr_field fields_{struct.name}[] = {{")
        out += [f"    {field.description(struct.c_name)}," for field in struct.fields]
        out += ["};", f"const struct vq_xdr_struct {struct.xdr_name} = {{",
                f'    "{struct.name}", sizeof(struct {struct.c_name}), {struct.wire_min()}, fields_{struct.name}, '
                f"VQ_N_ELEMENTS(fields_{struct.name}),", "};", ""]
    for row in program.procedures:
        if row.acl != "-":
            rules = ", ".join(acl_rule(schema, rule, row) for rule in row.acl.split(";"))
            out.append(f"static const struct vq_acl_rule acl_{row.name}[] = {{{rules}}};")
    out += ["", f"const struct vq_procedure vq_{program.name}_procedures[{len(program.procedures) + 1}] = {{"]
    out += [procedure_row(schema, program, row) for row in program.procedures]
    out += ["};"]
    return "\n".join(out) + "\n"


def write_programs(schema):
    out = ["/* Made by proto/generate.py from proto/schema: the rows of all programs, for proto/procedure.c. */",
           "#pragma once", "", '#include "proto/procedure.h"', ""]
    for p in schema.programs.values():
        out.append(f"extern const struct vq_procedure vq_{p.name}_procedures[{len(p.procedures) + 1}]; /* by number */")
    out += ["", "/* X(ENUM, name, wire number, last procedure) */", "#define VQ_PROGRAMS_TABLE(X) \\"]
    rows = [f"    X({p.name.upper()}, {p.name}, {p.wire}u, {len(p.procedures)})" for p in schema.programs.values()]
    out.append(" \\\n".join(rows))
    return "\n".join(out) + "\n"


def replace(path, text):
    """Leave an unchanged file alone, so that nothing is compiled again for it."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("schema", type=pathlib.Path, help="folder of the tables")
    parser.add_argument("out", type=pathlib.Path, help="folder for the C code")
    arguments = parser.parse_args()
    try:
        schema = Schema(arguments.schema)
        arguments.out.mkdir(parents=True, exist_ok=True)
        for program in schema.programs.values():
            replace(arguments.out / f"{program.name}.h", write_header(program))
            replace(arguments.out / f"{program.name}.c", write_source(schema, program))
        replace(arguments.out / "programs.h", write_programs(schema))
    except SchemaError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
