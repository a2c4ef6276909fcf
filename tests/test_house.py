"""The house rules: which module may import which, how long it may be, where things stand.

Each rule is a function from a module's name and source to what is wrong with it, so that each can
be shown to fail on a source that breaks it.
"""

import ast
import configparser
import pathlib
import subprocess

import pytest

import seqmask

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAYERS = {'known': -1, 'checks': 0, 'tracing': 0, 'lengths': 1, 'noise': 1, 'tags': 1,
          'variables': 1, 'windows': 1, 'masking': 2,
          'alignment': 2, 'operands': 2, 'packing': 2, 'tally': 2,
          'kernels': 2, 'datasets': 2, 'layers': 3, 'losses': 3, 'metrics': 3, 'decode': 3,
          'data': 3,
          'models': 4, 'training': 5, 'export': 5, 'keras': 5, 'streaming': 5, 'runs': 6,
          'scripts': 7}
BASE_OF_LAYERS = 'seqmask.layers.recurrent'         # it knows none of those that build on it
PUBLIC_SUBMODULES = {'losses', 'metrics', 'decode', 'data', 'datasets', 'models', 'training',
                     'runs', 'export', 'keras', 'kernels'}
MAY_TRACE = {'training', 'runs', 'export', 'streaming', 'scripts'}      # may use tf.function
KNOWS_ABSL = {'runs', 'scripts'}
BANNED_NAMES = {'utils', 'common', 'helpers', 'misc', 'types'}
TOP_LEVEL = {'setup.cfg', 'setup.py', 'seqmask', 'tests', 'scripts', 'BUILD.md', 'README.md', '.ci',
             '.gitignore'}
MAX_LINES = 300


def modules():
    """(name, path) of every module of the library and of every script."""
    found = []
    for folder in ('seqmask', 'scripts'):
        for path in sorted((ROOT / folder).rglob('*.py')):
            parts = path.relative_to(ROOT).with_suffix('').parts
            found.append(('.'.join(p for p in parts if p != '__init__'), path))
    return found


every_module = pytest.mark.parametrize(
    'module, path', [pytest.param(*m, id=m[0]) for m in modules()])


def room(module):
    """'seqmask.layers.dense' -> 'layers'; 'scripts.train' -> 'scripts'; 'seqmask' -> None."""
    top, *rest = module.split('.')
    return top if top == 'scripts' else rest[0] if rest else None


def imports(module, source, is_package=False):
    """Every (module, name) that a source imports; name is None for `import module`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split('.') + ['__init__'] * is_package
            base = '.'.join(parts[:-node.level]) if node.level else ''
            origin = '.'.join(filter(None, [base, node.module]))
            yield from ((origin, alias.name) for alias in node.names)


def house_imports(module, source, is_package=False):
    """The house's own modules among them: `from seqmask import checks` gives 'seqmask.checks'."""
    for origin, name in imports(module, source, is_package):
        if origin.split('.')[0] not in ('seqmask', 'scripts'):
            continue
        yield f'seqmask.{name}' if origin == 'seqmask' and name is not None else origin


def imports_that_point_up(module, source, is_package=False):
    """Imports from a higher layer, or from another room of the same one."""
    here = room(module)
    if here in (None, 'version'):       # seqmask/__init__.py is a table of contents
        return []
    if here not in LAYERS:
        return [f'{module}: its room {here!r} has no layer']
    if here == 'scripts':
        return []                       # see imports_of_what_is_not_public
    wrong = []
    for target in house_imports(module, source, is_package):
        there = room(target)
        if there == 'version':
            continue
        if there not in LAYERS:
            wrong.append(f'{module} imports {target}, which has no layer')
        elif there == here:
            if here == 'layers' and not is_package and target not in (module, BASE_OF_LAYERS):
                wrong.append(f'{module} imports {target}: layers do not import each other')
        elif LAYERS[there] >= LAYERS[here]:
            wrong.append(f'{module} (layer {LAYERS[here]}) imports {target} '
                         f'(layer {LAYERS[there]})')
    return wrong


def imports_of_what_is_not_public(module, source):
    """What a script takes that is not seqmask's public API."""
    if room(module) != 'scripts':
        return []
    # A folder of scripts/ holds what is no script itself, for scripts to share.
    siblings = {name.split('.')[1] for name, path in modules() if room(name) == 'scripts'
                and path.parent.name == 'scripts'}
    wrong = []
    for origin, name in imports(module, source):
        top, *rest = origin.split('.')
        if top in siblings | {'scripts'}:
            wrong.append(f'{module} imports {origin}: scripts do not import each other')
        if top != 'seqmask':
            continue
        if not rest and name is not None and name not in PUBLIC_SUBMODULES | set(seqmask.__all__):
            wrong.append(f'{module} imports seqmask.{name}, which is not public')
        if rest and (len(rest) > 1 or rest[0] not in PUBLIC_SUBMODULES):
            wrong.append(f'{module} imports {origin}, which is not a public module')
        if rest and name is not None and name.startswith('_'):
            wrong.append(f'{module} imports {origin}.{name}, which is private')
    for node in ast.walk(ast.parse(source)):
        written = ast.unparse(node) if isinstance(node, ast.Attribute) else ''
        # With a bracket it is something of a result's own: a named tuple's _replace.
        if written.startswith('seqmask.') and '._' in written and '(' not in written:
            wrong.append(f'{module} uses {written}, which is private')
    return wrong


def traces(module, source):
    """Uses of tf.function outside the rooms that may."""
    if room(module) in MAY_TRACE:
        return []
    wrong = [f'{module}:{node.lineno} uses tf.function' for node in ast.walk(ast.parse(source))
             if isinstance(node, ast.Attribute) and node.attr == 'function'
             and isinstance(node.value, ast.Name) and node.value.id in ('tf', 'tensorflow')]
    return wrong + [f'{module} imports tensorflow.function' for origin, name in
                    imports(module, source) if (origin, name) == ('tensorflow', 'function')]


def uses_of_absl(module, source):
    """Imports of absl outside the rooms that may: the library itself knows no flags."""
    if room(module) in KNOWS_ABSL:
        return []
    return [f'{module} imports {origin}' for origin, _ in imports(module, source)
            if origin.split('.')[0] == 'absl']


def banned_names(module):
    return sorted(BANNED_NAMES & set(module.split('.')))


def too_long(module, source):
    count = len(source.splitlines())
    return [f'{module} has {count} lines'] if count > MAX_LINES else []


def unpacked(names, patterns):
    """Files that stand in a package and would not be installed with it."""
    installed = [f"/{package.replace('.', '/')}/{pattern}"
                 for package, listed in patterns.items() for pattern in listed]
    return [name for name in names
            if not any(pathlib.PurePosixPath(f'/{name}').match(path) for path in installed)]


# The rules, applied

def test_the_house_was_found():
    names = [name for name, _ in modules()]
    assert {'seqmask', 'seqmask.checks', 'seqmask.lengths'} <= set(names)


@every_module
def test_imports_point_down_only(module, path):
    assert not imports_that_point_up(module, path.read_text(), path.name == '__init__.py')


@every_module
def test_scripts_use_the_public_api_only(module, path):
    assert not imports_of_what_is_not_public(module, path.read_text())


@every_module
def test_nothing_but_training_export_and_scripts_traces(module, path):
    assert not traces(module, path.read_text())


@every_module
def test_nothing_but_runs_and_scripts_knows_absl(module, path):
    assert not uses_of_absl(module, path.read_text())


@every_module
def test_no_module_is_long(module, path):
    assert not too_long(module, path.read_text())


@pytest.mark.parametrize('folder', ['seqmask', 'scripts', 'tests'])
def test_no_module_is_named_after_nothing(folder):
    paths = (p.relative_to(ROOT).with_suffix('') for p in (ROOT / folder).rglob('*.py'))
    assert not [p for p in paths if banned_names('.'.join(p.parts))]


def test_every_folder_of_the_library_is_a_package():
    folders = {path.parent for path in (ROOT / 'seqmask').rglob('*.py')}
    assert not [str(f) for f in folders if not (f / '__init__.py').exists()]


def test_the_top_level_holds_nothing_else():
    try:
        listed = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip('git is not installed')
    if listed.returncode or not listed.stdout:
        pytest.skip('not a git checkout, so nothing says which files are the project\'s')
    top = {name.split('/')[0] for name in listed.stdout.splitlines()}
    assert not top - TOP_LEVEL


def test_the_oracle_imports_no_seqmask():
    source = (ROOT / 'tests' / 'reference.py').read_text()
    assert {origin.split('.')[0] for origin, _ in imports('reference', source)} == {'numpy'}


def packaged():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    return {package.strip(): listed.replace(',', ' ').split()
            for package, listed in config['options.package_data'].items()}


def test_setup_lists_the_data_files():
    patterns = packaged()
    assert 'py.typed' in patterns['seqmask']
    assert '*.npz' in patterns['seqmask.datasets']


def test_every_data_file_is_installed():
    names = [path.relative_to(ROOT).as_posix() for path in (ROOT / 'seqmask').rglob('*')
             if path.is_file() and path.suffix not in ('.py', '.pyc')]
    assert 'seqmask/py.typed' in names
    assert not unpacked(names, packaged())


# The rules can fail

@pytest.mark.parametrize('module, source', [
    ('seqmask.lengths', 'from seqmask import masking'),                     # up
    ('seqmask.lengths', 'from seqmask.masking import apply_mask'),
    ('seqmask.lengths', 'import seqmask.masking'),
    ('seqmask.lengths', 'import seqmask.masking as m'),
    ('seqmask.lengths', 'from . import masking'),
    ('seqmask.lengths', 'from .masking import apply_mask'),
    ('seqmask.lengths', 'def f():\n    from seqmask import masking'),       # and late
    ('seqmask.masking', 'from seqmask.packing import pack'),                # a sibling
    ('seqmask.kernels.cells', 'from seqmask.packing import pack'),
    ('seqmask.kernels.cells', 'from ..packing import pack'),
    ('seqmask.layers.recurrent', 'from seqmask import losses'),
    ('seqmask.layers.recurrent', 'from seqmask.layers.dense import Dense'),
    ('seqmask.layers.recurrent', 'from seqmask.layers import Dense'),
    ('seqmask.layers.recurrent', 'from .dense import Dense'),
    ('seqmask.layers.recurrent', 'from seqmask.layers.gru import GRU'),
    ('seqmask.layers.mgu', 'from seqmask.layers.gru import GRU'),
    ('seqmask.layers.mgu', 'from seqmask.layers import recurrent'),
    ('seqmask.training.trainer', 'import scripts.train'),
    ('seqmask.checks', 'import seqmask'),               # the table of contents is not a room
    ('seqmask.models.labeller', 'from seqmask import GRU'),
    ('seqmask.novelty', 'import numpy')])               # a module without a layer
def test_an_import_that_points_up_is_found(module, source):
    assert len(imports_that_point_up(module, source)) == 1


@pytest.mark.parametrize('module, source, is_package', [
    ('seqmask', 'from seqmask.training import Trainer', True),
    ('seqmask.checks', 'import numpy as np\nimport tensorflow as tf', False),
    ('seqmask.checks', 'from seqmask.version import __version__', False),
    ('seqmask.masking', 'from seqmask import checks\nfrom seqmask.lengths import x', False),
    ('seqmask.layers', 'from seqmask.layers.dense import Dense\nfrom .dense import x', True),
    ('seqmask.kernels.graph', 'from seqmask.kernels.cells import Cell\nfrom . import c', False),
    ('seqmask.layers.mgu', 'from seqmask.layers.recurrent import Recurrent', False),
    ('seqmask.training', 'from seqmask.training.trainer import Trainer', True),
    ('seqmask.models.labeller', 'from seqmask.layers import GRU', False)])
def test_an_import_that_points_down_passes(module, source, is_package):
    assert not imports_that_point_up(module, source, is_package)


@pytest.mark.parametrize('source', [
    'from seqmask import checks', 'from seqmask import _secret', 'import seqmask.checks',
    'from seqmask.layers.recurrent import GRU', 'from seqmask.losses import _reduce',
    'import seqmask\nseqmask._secret()', 'import seqmask\nseqmask.losses._reduce()',
    'from seqmask import NoSuchName', 'import scripts.train', 'from scripts import train',
    'import train_labels', 'from benchmark import main', 'from scripts.peers import rounds'])
def test_a_script_that_takes_what_is_not_public_is_found(source):
    assert len(imports_of_what_is_not_public('scripts.new', source)) == 1


@pytest.mark.parametrize('source', [
    'import seqmask\nseqmask.pack(x, n)._replace(values=y)', 'from seqmask import Tally, losses',
    'import seqmask.training', 'from seqmask.training import Trainer', 'from absl import app',
    'import peers', 'from peers import rounds'])
def test_a_script_that_takes_the_public_api_passes(source):
    assert not imports_of_what_is_not_public('scripts.new', source)


@pytest.mark.parametrize('source', [
    '@tf.function\ndef f(): pass', '@tf.function(jit_compile=True)\ndef f(): pass',
    'g = tf.function(f)', 'import tensorflow\ntensorflow.function(f)',
    'from tensorflow import function'])
def test_a_use_of_tf_function_is_found(source):
    assert len(traces('seqmask.layers.dense', source)) == 1
    assert not traces('seqmask.training.trainer', source)
    assert not traces('seqmask.export', source)
    assert not traces('scripts.train', source)


@pytest.mark.parametrize('source', ['from absl import flags', 'import absl.logging',
                                    'def f():\n    from absl import app'])
def test_an_import_of_absl_is_found(source):
    assert len(uses_of_absl('seqmask.training.step', source)) == 1
    assert not uses_of_absl('seqmask.runs.flags', source)
    assert not uses_of_absl('scripts.train', source)
    assert not uses_of_absl('seqmask.training.step', '"""Without absl."""\nimport abslike')


def test_a_mention_of_tf_function_passes():
    assert not traces('seqmask.layers.dense', '"""Works in a tf.function."""\ntf.functional = 1')


@pytest.mark.parametrize('name', sorted(BANNED_NAMES))
def test_a_banned_name_is_found(name):
    assert banned_names(f'seqmask.{name}') == [name]
    assert banned_names(f'seqmask.{name}.losses') == [name]
    assert not banned_names(f'seqmask.my{name}')


def test_a_long_module_is_found():
    assert not too_long('seqmask.losses', 'x = 1\n' * MAX_LINES)
    assert too_long('seqmask.losses', 'x = 1\n' * (MAX_LINES + 1))


def test_a_file_that_is_not_installed_is_found():
    patterns = {'seqmask': ['py.typed'], 'seqmask.kernels': ['*.cc', '*.h', 'cpp/*']}
    names = ['seqmask/py.typed', 'seqmask/kernels/gru.cc', 'seqmask/kernels/cpp/gru.cu',
             'seqmask/gru.cc', 'seqmask/kernels/more/gru.cc', 'seqmask/kernels/gru.cu',
             'seqmask/cpp/gru.cc', 'seqmask/kernels/cpp/more/gru.cc', 'more/seqmask/py.typed']
    assert unpacked(names, patterns) == names[3:]


def test_an_oracle_that_imports_seqmask_is_found():
    source = 'import numpy as np\nfrom seqmask.lengths import sequence_mask'
    assert ('seqmask.lengths', 'sequence_mask') in imports('reference', source)


def test_training_exports_few_names():
    assert len(seqmask.training.__all__) <= 14
