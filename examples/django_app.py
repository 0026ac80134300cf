import atexit
import json
import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from tallystick.errors import AmbiguousOutcome
from tallystick.ids import deterministic_id
from tallystick.pipeline import Publisher, PublisherFull, Topic

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=os.environ.get("SECRET_KEY", "for a trial"))

orders = Topic("orders", dict)
publisher = Publisher(os.environ["KAFKA"])  # its client is made by the first order, so that a server may fork before
atexit.register(publisher.close)


@csrf_exempt
@require_http_methods(["PUT"])
def place(request: HttpRequest, order_id: str) -> HttpResponse:
    order = json.loads(request.body)
    event_id = deterministic_id("order-placed", order_id)  # the same when the browser sends it again
    try:
        publisher.publish(orders, order, event_id=event_id, key=order["customer"])
    except PublisherFull:
        return HttpResponse("too many orders at once", status=503, headers={"Retry-After": "1"})
    except AmbiguousOutcome:
        return HttpResponse("the order may be placed: send it again", status=504)
    return JsonResponse({"event_id": event_id}, status=202)


urlpatterns = [path("orders/<str:order_id>", place)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
