"""Several starts of a script in one process: most of what a start takes is TensorFlow."""

import json
import os
import re
import subprocess
import sys

from test_scripts import NOISE, ROOT, TIMEOUT, command

STARTS = '''
import importlib, json, sys
from absl.testing import flagsaver
several, script = json.loads(sys.argv.pop()), importlib.import_module(sys.argv.pop())
from seqmask import runs
for arguments in several:
    saved = flagsaver.save_flag_values()
    sys.argv[1:] = arguments
    try:
        runs.run(script.main)
    except SystemExit as status:
        for stream in (sys.stdout, sys.stderr):
            print(f'exit {status.code}', file=stream, flush=True)
    flagsaver.restore_flag_values(saved)
'''


def starts(folder, script, *several):
    """[(exit status, lines of stdout, of stderr)] of a script with each list of flags.

    `script` is its name without '.py'.
    """
    environment = command()['env']
    environment['PYTHONPATH'] += os.pathsep + str(ROOT / 'scripts')
    done = subprocess.run([sys.executable, '-c', STARTS, script, json.dumps(several)], cwd=folder,
                          env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    streams = [re.split(r'exit (\d+)\n', stream) for stream in (done.stdout, done.stderr)]
    assert len(streams[0]) == 2 * len(several) + 1, done.stderr
    return [(int(status), out.splitlines(),
             [line for line in err.splitlines() if not NOISE.match(line)])
            for out, status, err in zip(streams[0][::2], streams[0][1::2], streams[1][::2])]
