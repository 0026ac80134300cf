import sqlite3

from tallystick.boundary import inbox

connection = sqlite3.connect("shop.sqlite3")
inbox.create_inbox(connection)
connection.execute("CREATE TABLE IF NOT EXISTS paid (customer TEXT, amount_minor INTEGER)")

event_id, body = "0b1f7a4e-7d3c-8c2a-9f10-2f4f5d1f9a77", b'{"customer": "7", "amount_minor": 2933}'
for _delivery in ("the first", "the same again"):
    with connection:  # one SQL transaction for the inbox row and the business row
        if inbox.once(connection, event_id, body):
            connection.execute("INSERT INTO paid VALUES (?, ?)", ("7", 2933))

print(connection.execute("SELECT count(*), sum(amount_minor) FROM paid").fetchone())  # (1, 2933)
