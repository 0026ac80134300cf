from collections.abc import Iterator

import msgspec

from tallystick.pipeline import App, Context, Emit, Guarantee, Topic, emit


class Purchase(msgspec.Struct):
    customer: str
    price_minor: int
    quantity: int


class Charge(msgspec.Struct):
    customer: str
    amount_minor: int


purchases = Topic("purchases", Purchase)
charges = Topic("charges", Charge)
app = App("shop", guarantee=Guarantee.EXACTLY_ONCE)


@app.step(source=purchases, emits=[charges])
def rate(purchase: Purchase, _context: Context) -> Iterator[Emit]:
    amount_minor = purchase.price_minor * purchase.quantity
    yield emit(charges, Charge(purchase.customer, amount_minor), key=purchase.customer)
