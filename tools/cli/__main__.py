"""`weft`: every command is in a file of its group, which imports what it needs when it runs."""

import typer

from tools.cli import access, config, content, mesh, stack, usage

app = typer.Typer(
    name="weft",
    help="Weft: a typed gRPC mesh for LLM and RAG services. Start here: weft up",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (stack, mesh, content, access, usage, config):
    group.register(app)

if __name__ == "__main__":
    app(prog_name="weft")
