"""``tallystick run traced_shop:app``: the shop, with its spans on standard output.

Instead of the console exporter, take the one of your collector: the pipeline only asks which provider is set.
"""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from shop import app

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.to_json(None) + "\n")))
trace.set_tracer_provider(provider)

__all__ = ["app"]
