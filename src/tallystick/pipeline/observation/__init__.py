"""What a running worker shows of itself: views, metrics, health.

Owns: the shape of what is shown, and the page it is shown on. Must not know: how a batch is processed. A worker writes
its view into a file; whoever watches it reads the file. So a worker that hangs is seen to hang, and one that was
killed leaves the view of its last second.
"""

from tallystick.pipeline.observation.view import StepView, View, ViewFile, read_view

__all__ = ["StepView", "View", "ViewFile", "read_view"]
