"""Amounts of money, exactly.

Owns: currencies with their ISO 4217 exponents, ``Money``, exact parsing, rounding and allocation. Must not know:
prices, invoices, exchange rates.

Money is an integer number of minor units (cents) and a currency. No float enters: 0.1 has no exact binary form, and
a total of many such amounts drifts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import Final

from tallystick.errors import TallystickError

_TWO: Final = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP "
    "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
    "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN "
    "NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
    "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW"
)
_ZERO: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"
_FOUR: Final = "CLF UYW"

EXPONENTS: Final[dict[str, int]] = {
    code: exponent for exponent, codes in ((0, _ZERO), (2, _TWO), (3, _THREE), (4, _FOUR)) for code in codes.split()
}
"""Number of decimals of each currency (ISO 4217:2015, list one)."""

MAX_MINOR: Final = 2**63 - 1
"""Largest amount: what a signed 64-bit SQL integer holds."""

_PLAIN_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,30})(?:\.\d{1,30})?", flags=re.ASCII)


class MoneyError(TallystickError):
    """An amount that is not exact, not in range, or in another currency than it must be."""


def exponent_of(currency: str) -> int:
    """Number of decimals of ``currency``; ``MoneyError`` for a code that ISO 4217 does not list."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise MoneyError(f"{currency!r} is no ISO 4217 currency code known here") from None


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """``minor`` minor units of ``currency``: ``Money(1999, "USD")`` is 19.99 dollars."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.minor, int) or isinstance(self.minor, bool):
            raise MoneyError(f"minor units are an int, not {type(self.minor).__name__}")
        if abs(self.minor) > MAX_MINOR:
            raise MoneyError(f"{self.minor} minor units exceed 64 bits")
        exponent_of(self.currency)

    @classmethod
    def parse(cls, text: str, currency: str) -> Money:
        """The exact amount written in ``text`` as plain digits with an optional decimal point.

        Raises ``MoneyError`` for anything else: exponents, separators, ``NaN``, floats, and more decimals than the
        currency has (``"1.005"`` dollars are refused, never rounded).
        """
        if not isinstance(text, str):
            raise MoneyError(f"an amount is parsed from text, not from {type(text).__name__}")
        if not _PLAIN_NUMBER.fullmatch(text):
            raise MoneyError(f"{text!r} is not a plain decimal number")
        return cls.exact(Decimal(text), currency)

    @classmethod
    def exact(cls, amount: Decimal, currency: str) -> Money:
        """``amount`` major units, which must be a whole number of minor units; ``MoneyError`` if not."""
        minor = _scaled(amount, exponent_of(currency))
        whole = int(minor)
        if minor != whole:
            raise MoneyError(f"{amount} has more decimals than {currency} ({exponent_of(currency)})")
        return cls(whole, currency)

    @classmethod
    def rounded(cls, amount: Decimal, currency: str) -> Money:
        """``amount`` major units, rounded half to even to minor units: for products of a rate, said once, here."""
        minor = _scaled(amount, exponent_of(currency))
        return cls(int(minor.to_integral_value(rounding=ROUND_HALF_EVEN)), currency)

    @classmethod
    def total(cls, amounts: Iterable[Money], currency: str) -> Money:
        """Sum of ``amounts``, zero when there are none; all must be in ``currency``."""
        result = cls(0, currency)
        for amount in amounts:
            result += amount
        return result

    def major(self) -> Decimal:
        """The amount in major units, with all decimals of its currency."""
        return Decimal(self.minor).scaleb(-exponent_of(self.currency))

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same_currency(other).minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same_currency(other).minor, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same_currency(other).minor

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same_currency(other).minor

    def __str__(self) -> str:
        return f"{self.major():,} {self.currency}"

    def allocate(self, weights: Sequence[int]) -> tuple[Money, ...]:
        """Split by ``weights`` so that the parts sum to exactly this amount (method of the largest remainder).

        Each part is within one minor unit of its exact share; ties go to the earlier part, so the result depends on
        the order of ``weights`` alone. A negative amount is split like its absolute value. ``MoneyError`` for
        negative weights or a sum of zero.
        """
        if any(weight < 0 for weight in weights) or sum(weights) <= 0:
            raise MoneyError(f"weights must be non-negative with a positive sum: {list(weights)!r}")
        sign = -1 if self.minor < 0 else 1
        whole = sum(weights)
        shares = [divmod(abs(self.minor) * weight, whole) for weight in weights]
        parts = [quotient for quotient, _ in shares]
        left = abs(self.minor) - sum(parts)
        by_remainder = sorted(range(len(weights)), key=lambda index: (-shares[index][1], index))
        for index in by_remainder[:left]:
            parts[index] += 1
        return tuple(Money(sign * part, self.currency) for part in parts)

    def _same_currency(self, other: Money) -> Money:
        if self.currency != other.currency:
            raise MoneyError(f"{self.currency} and {other.currency} do not add or compare")
        return other


def _scaled(amount: Decimal, exponent: int) -> Decimal:
    if not isinstance(amount, Decimal):
        raise MoneyError(f"an amount is a Decimal, not {type(amount).__name__}")
    if not amount.is_finite():
        raise MoneyError(f"{amount} is no amount")
    with localcontext() as context:
        context.prec = 200  # scaleb rounds to the precision: more than any amount that is accepted below
        try:
            scaled = amount.scaleb(exponent)
        except InvalidOperation:
            raise MoneyError(f"{amount} is out of range") from None
        if abs(scaled) > MAX_MINOR:
            raise MoneyError(f"{amount} exceeds 64 bits of minor units")
        return scaled
