"""One thing changed at a time: what a source would be with a sign, an axis, an argument or a statement wrong.

`mutants(file, source)` lists the changes; `install` puts one in the place of the real code. `mutate.py` runs the tests.
"""

import ast
import types

DECLARED = {"SHAPES", "PAPER", "TIME", "MEMORY", "EXACT"}  # what a mechanism says about itself
ORACLES = {"naive", "cases", "_plain_bucket"}  # what is compared with, what is tried
PARTS = (ast.expr, ast.comprehension, ast.keyword, ast.arguments)

OTHERS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ROWS = {ast.Tuple: "elts", ast.List: "elts", ast.Call: "args"}
REDUCING = {"sum", "mean", "max", "min", "any", "all", "astype", "copy"}
ALIKE = {"maximum", "minimum", "max", "min", "isinstance", "swapaxes", "multiply", "add", "row_dot", "result_type"}
ALIKE |= {"broadcast_shapes"}  # whatever the order
CHOOSING = {"where", "maximum", "minimum", "max", "min"}


def operator(node):
    """a + b -> a - b, a * b -> a / b, a & b -> a | b, a and b -> a or b; a @ b -> b @ a."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield ast.BinOp(node.right, node.op, node.left)
    elif isinstance(node, ast.BinOp) and type(node.op) in OTHERS:
        yield ast.BinOp(node.left, OTHERS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(OTHERS[type(node.op)](), node.values)


def comparison(node):
    """a < b -> a <= b, a == b -> a != b, and so for `is` and `in`."""
    for i, one in enumerate(node.ops if isinstance(node, ast.Compare) else ()):
        yield ast.Compare(node.left, [*node.ops[:i], OTHERS[type(one)](), *node.ops[i + 1 :]], node.comparators)


def constant(node):
    """n -> n + 1, so axis=-1 becomes -2; a fraction a hundredth larger; True False."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value * 1.01 if isinstance(node.value, float) and node.value else node.value + 1)


def sign(node):
    """-x -> x, not x -> x."""
    if isinstance(node, ast.UnaryOp):
        yield node.operand


def condition(node):
    """a if b else c -> a if not b else c."""
    if isinstance(node, ast.IfExp):
        yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def attribute(node):
    """x.mT -> x."""
    if isinstance(node, ast.Attribute) and node.attr == "mT":
        yield node.value


def keyword(node):
    """f(x, axis=0) -> f(x)."""
    for i, one in enumerate(node.keywords if isinstance(node, ast.Call) else ()):
        if one.arg != "strict":  # a promise that is kept changes nothing
            yield ast.Call(node.func, node.args, node.keywords[:i] + node.keywords[i + 1 :])


def call(node):
    """f(x, ...) -> x, x.sum(axis=0) -> x, where(c, x, y) -> c, x or y."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and called(node) in REDUCING:
            yield node.func.value
        yield from (x for x in node.args[: None if called(node) in CHOOSING else 1] if not isinstance(x, ast.Starred))


def neighbours(node):
    """(a, b) -> (b, a), in tuples, lists and arguments."""
    name = None if called(node) in ALIKE else ROWS.get(type(node))
    if name and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        row = getattr(node, name)
        for i in range(len(row) - 1):
            yield type(node)(**dict(ast.iter_fields(node)) | {name: [*row[:i], row[i + 1], row[i], *row[i + 2 :]]})


def bounds(node):
    """x[a:b] -> x[a + 1 : b] and x[a : b + 1]; a side that is open loses one. Numbers are for `constant`."""
    if isinstance(node, ast.Slice):
        lower, upper = (side and ast.BinOp(side, ast.Add(), ast.Constant(1)) for side in (node.lower, node.upper))
        if not isinstance(node.lower, ast.Constant):
            yield ast.Slice(lower or ast.Constant(1), node.upper, node.step)
        if not isinstance(node.upper, ast.Constant):
            yield ast.Slice(node.lower, upper or ast.Constant(-1), node.step)


def called(node):
    """The name of the function in a call of it, else None."""
    return getattr(node.func, "attr", getattr(node.func, "id", None)) if isinstance(node, ast.Call) else None


CHANGES = (operator, comparison, constant, sign, condition, attribute, keyword, call, neighbours, bounds)


class Mutant:
    """In `holder`, a node or a list of nodes, `new` stands at `slot`; key: file, function and the line as it is."""

    def __init__(self, file, tree, function, statement, holder, slot, new):
        self.file, self.tree, self.holder, self.slot, self.new = file, tree, holder, slot, new
        self.old = holder[slot] if isinstance(holder, list) else getattr(holder, slot)
        self.line = statement.lineno
        decorators = getattr(function, "decorator_list", ())
        self.start = min(part.lineno for part in (function, *decorators)) if function else None  # as in its code object
        before = ast.unparse(statement)
        self.put(new)
        after = (
            f"(deleted) {before}" if isinstance(new, ast.Pass) else ast.unparse(ast.fix_missing_locations(statement))
        )
        self.put(self.old)
        self.other, text = after != before, after.splitlines()[0]
        self.key = (file, getattr(function, "name", "(file)"), text[:160].rstrip())

    def put(self, node):
        if isinstance(self.holder, list):
            self.holder[self.slot] = node
        else:
            setattr(self.holder, self.slot, node)

    def code(self, path):
        """The whole file, changed and compiled."""
        self.put(self.new)
        code = compile(ast.fix_missing_locations(self.tree), path, "exec")
        self.put(self.old)
        return code


def mutants(file, source):
    """Every change of every line that computes something -> list of Mutant, each once."""
    tree, found = ast.parse(source), {}

    def add(*where):
        mutant = Mutant(file, tree, *where)
        if mutant.other and "reshape(-2" not in mutant.key[2]:  # to reshape any negative number is -1
            found.setdefault((mutant.line, mutant.key), mutant)

    def expressions(node, function, statement):
        for name, value in ast.iter_fields(node):
            for i, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if (
                    not isinstance(child, PARTS)
                    or isinstance(child, ast.JoinedStr)
                    or getattr(child, "arg", "") == "strict"
                ):
                    continue
                place = (node, name) if i is None else (value, i)
                for change in CHANGES:
                    for new in change(child):
                        add(function, statement, *place, new)
                if name == "ifs" or (name == "test" and isinstance(node, (ast.If, ast.While))):
                    add(function, statement, *place, ast.UnaryOp(ast.Not(), child))
                expressions(child, function, statement)

    def block(body, function, known, inside):
        """known: the names that have a value already; inside: after this block the function goes on."""
        for i, statement in enumerate(body):
            if inside and isinstance(body[-1], ast.Raise) and statement is not body[-1]:
                continue  # the words of an error are not computed
            targets = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if isinstance(statement, (ast.Import, ast.ImportFrom, ast.AnnAssign)) or targets & DECLARED or text:
                continue
            if isinstance(statement, ast.ClassDef):
                block(statement.body, function, set(), False)
            elif isinstance(statement, ast.FunctionDef):
                if statement.name not in ORACLES:
                    names = {a.arg for a in ast.walk(statement.args) if isinstance(a, ast.arg)}
                    expressions(statement.args, statement, statement)
                    block(statement.body, statement, names, False)
            else:
                if function and can_go(statement, known, inside):
                    add(function, statement, body, i, ast.Pass())
                if not isinstance(statement, ast.Raise):
                    expressions(statement, function, statement)
                block(getattr(statement, "body", []), function, known, True)
                block(getattr(statement, "orelse", []), function, known, True)
            known |= targets

    block(tree.body, None, set(), False)
    return list(found.values())


def can_go(statement, known, inside):
    """Without it the code still runs: where it gives a name a value, the name has one already."""
    if isinstance(statement, ast.Assign):
        parts = [p for t in statement.targets for p in (t.elts if isinstance(t, ast.Tuple) else [t])]
        return all(not isinstance(part, ast.Name) or part.id in known for part in parts)
    return isinstance(statement, (ast.Expr, ast.AugAssign)) or (
        inside and isinstance(statement, (ast.Return, ast.Raise))
    )


def install(module, code):
    """Give the functions and the numbers of a module what they have in `code`, in place: who imported them sees it."""
    fresh = types.ModuleType(module.__name__)
    exec(code, vars(fresh))

    def take(old, new):
        for name, value in list(vars(new).items()):
            mine = vars(old).get(name)
            if isinstance(value, property):
                value, mine = value.fget, mine.fget
            if isinstance(value, types.FunctionType) and value.__code__.co_filename == code.co_filename:
                mine.__code__, mine.__defaults__ = value.__code__, value.__defaults__
                mine.__kwdefaults__ = value.__kwdefaults__
            elif isinstance(value, type) and value.__module__ == module.__name__:
                take(mine, value)
            elif old is module and isinstance(value, (bool, int, float)):
                setattr(old, name, value)

    take(module, fresh)
