"""The kernel that draws figures: IPython's, which reads no configuration and runs no startup file.

Run as a file by `defuse.showing.notebooks`, before anything of ours can be imported.
"""

import json
import sys


def start() -> None:
    """Become a kernel; the first argument is the `sys.path` to import from, the others are IPython's."""
    sys.path[:] = json.loads(sys.argv.pop(1))
    from ipykernel.kernelapp import IPKernelApp

    class PlainKernelApp(IPKernelApp):
        """The kernel without the machine's configuration: `/etc/ipython` is read whatever the environment says."""

        def load_config_file(self, *_: object, **__: object) -> None:
            """Read no file."""

        def init_code(self) -> None:
            """Run no file of a `startup` folder."""

    PlainKernelApp.launch_instance()


if __name__ == "__main__":
    start()
