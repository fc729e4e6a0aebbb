"""What a wrong gradient looks like."""


def diagnose(problem, report, point, dout, out, reference):
    """-> further faults, likenesses."""
    return (), ()
