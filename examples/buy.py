import os

from shop import Purchase, purchases

from tallystick.ids import deterministic_id
from tallystick.pipeline import Publisher

with Publisher(os.environ["TALLYSTICK_BOOTSTRAP"]) as publisher:
    for number in range(100):
        purchase = Purchase(customer=str(number % 7), price_minor=100 + number, quantity=1)
        event_id = deterministic_id("purchase", number)  # the same whenever this runs again
        publisher.publish(purchases, purchase, event_id=event_id, key=purchase.customer)
print(event_id)
