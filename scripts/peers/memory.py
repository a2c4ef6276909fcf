"""Resident memory of this process, in bytes."""


def read_status(field):
    """A field of /proc/self/status, such as VmRSS or VmHWM, its peak; None where there is none."""
    try:
        with open('/proc/self/status', encoding='ascii') as file:
            lines = [line for line in file if line.startswith(field + ':')]
    except OSError:
        return None
    return int(lines[0].split()[1]) * 1024


def read_peak():
    """The peak so far. On Linux, getrusage would include the peak of the parent process."""
    import resource
    peak = read_status('VmHWM')
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if peak is None else peak
