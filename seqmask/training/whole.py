"""A file that appears at once and whole, whenever its writer is killed."""

import os


def write_whole(path, write):
    """Writes a text file such that it appears at once and whole: `write(file)`, then a rename."""
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        with open(temporary, 'w', newline='', encoding='utf-8') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
