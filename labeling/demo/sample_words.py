"""The phrases, dates and numbers of the sample invoices, by country."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

ENGLISH = {
    "title": ("INVOICE", "Invoice", "TAX INVOICE"),
    "number": ("Invoice no.", "Invoice #", "Invoice number:", "Inv. No:", "Bill no.", "Reference:"),
    "date": ("Date:", "Invoice date:", "Issued:", "Date of issue:"),
    "due": ("Due date:", "Payment due:", "Pay by:", "Due:"),
    "ordered": ("Order date:", "Ordered:", "Date of order:"),
    "delivered": ("Delivered:", "Delivery date:", "Shipped:"),
    "printed": ("Printed", "Copy printed"),
    "order": ("PO number:", "Your order:", "P.O.:", "Purchase order:"),
    "customer": ("Bill to:", "Customer:", "Sold to:"),
    "vendor": ("From:", "Vendor:", "Seller:", "Supplier:"),
    "remit": ("Please pay to", "Remit to:", "Payable to"),
    "subtotal": ("Subtotal", "Net amount", "Goods total"),
    "tax": ("Tax", "Sales tax"),
    "total": ("Total due", "Total", "Total amount due", "Invoice total", "Grand total", "Amount due"),
    "total_with_balance": ("Invoice total", "Total", "Grand total"),
    "paid": ("Paid on account", "Deposit received", "Already paid"),
    "balance": ("Balance due", "Left to pay"),
    "thanks": ("Thank you for your business.", "Thanks for your order.", "Questions? Just call us."),
    "terms": ("Payment terms: Net 30.", "2 % discount within 10 days.", "Terms: net 14 days."),
    "omitted": ("Line items omitted for brevity.", "Details on the next page.", "See attached list."),
    "letter": (
        "Invoice {number} issued on {date}.",
        "Please find below our invoice {number} of {date}.",
        "On {date} we issued invoice {number}.",
    ),
    "letter_total": ("{label} {total}.", "{label}: {total}.", "The {lower} is {total}."),
    "letter_due": ("Please pay by {due}.", "Payment is due on {due}."),
    "letter_vendor": ("Vendor: {vendor}.", "Kind regards, {vendor}", "Yours, {vendor}"),
}
GERMAN = {
    "title": ("RECHNUNG", "Rechnung"),
    "number": ("Rechnungsnr.:", "Rechnung Nr.", "Beleg-Nr.:"),
    "date": ("Datum:", "Rechnungsdatum:"),
    "due": ("Zahlbar bis:", "Fällig am:"),
    "ordered": ("Bestellt am:", "Bestelldatum:"),
    "delivered": ("Lieferdatum:", "Geliefert am:"),
    "printed": ("Gedruckt",),
    "order": ("Bestellnr.:", "Ihre Bestellung:"),
    "customer": ("Kunde:", "Rechnung an:"),
    "vendor": ("Von:", "Lieferant:"),
    "remit": ("Zahlbar an",),
    "subtotal": ("Netto", "Zwischensumme"),
    "tax": ("MwSt.", "USt."),
    "total": ("Gesamtbetrag", "Rechnungsbetrag", "Summe"),
    "total_with_balance": ("Rechnungsbetrag", "Gesamtbetrag"),
    "paid": ("Anzahlung",),
    "balance": ("Restbetrag",),
    "thanks": ("Vielen Dank.",),
    "terms": ("Zahlbar netto.",),
    "omitted": ("Siehe Anlage.",),
    "letter": ("Rechnung {number} vom {date}.",),
    "letter_total": ("{label}: {total}.",),
    "letter_due": ("Bitte zahlen Sie bis {due}.",),
    "letter_vendor": ("Ihre {vendor}",),
}
FRENCH = {
    "title": ("FACTURE", "Facture"),
    "number": ("Facture n°", "N° de facture :"),
    "date": ("Date :", "Date de facture :"),
    "due": ("Échéance :", "À payer avant le :"),
    "ordered": ("Commande du :",),
    "delivered": ("Livré le :",),
    "printed": ("Imprimé",),
    "order": ("Votre commande :", "N° de commande :"),
    "customer": ("Client :", "Facturé à :"),
    "vendor": ("Fournisseur :", "De :"),
    "remit": ("À régler à",),
    "subtotal": ("Total HT",),
    "tax": ("TVA",),
    "total": ("Total TTC", "Net à payer"),
    "total_with_balance": ("Total TTC",),
    "paid": ("Acompte",),
    "balance": ("Reste à payer",),
    "thanks": ("Merci.",),
    "terms": ("Paiement à 30 jours.",),
    "omitted": ("Voir annexe.",),
    "letter": ("Facture {number} du {date}.",),
    "letter_total": ("{label} : {total}.",),
    "letter_due": ("À payer avant le {due}.",),
    "letter_vendor": ("Fournisseur : {vendor}",),
}
SPANISH = {
    "title": ("FACTURA", "Factura"),
    "number": ("Factura n.º", "Número:"),
    "date": ("Fecha:", "Fecha de factura:"),
    "due": ("Vencimiento:", "Pagar antes del:"),
    "ordered": ("Pedido del:",),
    "delivered": ("Entregado:",),
    "printed": ("Impreso",),
    "order": ("Su pedido:", "Pedido n.º"),
    "customer": ("Cliente:", "Facturar a:"),
    "vendor": ("Proveedor:", "De:"),
    "remit": ("Páguese a",),
    "subtotal": ("Base imponible",),
    "tax": ("IVA",),
    "total": ("Total", "Total a pagar", "Importe total"),
    "total_with_balance": ("Importe total",),
    "paid": ("Anticipo",),
    "balance": ("Resto a pagar",),
    "thanks": ("Gracias.",),
    "terms": ("Pago a 30 días.",),
    "omitted": ("Ver anexo.",),
    "letter": ("Factura {number} del {date}.",),
    "letter_total": ("{label}: {total}.",),
    "letter_due": ("Pagar antes del {due}.",),
    "letter_vendor": ("Proveedor: {vendor}",),
}
MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}


@dataclass(frozen=True)
class Country:
    """How one country writes an invoice. Date patterns use {d} {dd} {m} {mm} {y} {month} {mon}.

    ``other_money`` are currencies of other countries, ``rare_dates`` less common date formats.
    """

    faker: str
    language: str
    words: dict[str, tuple[str, ...]]
    dates: tuple[str, ...]
    rare_dates: tuple[str, ...]
    thousands: str
    point: str
    money: tuple[str, ...]
    other_money: tuple[str, ...]
    taxes: tuple[int, ...]


COUNTRIES: tuple[tuple[int, Country], ...] = (
    (
        50,
        Country(
            faker="en_US",
            language="en",
            words=ENGLISH,
            dates=("{mon} {d}, {y}", "{month} {d}, {y}", "{y}-{mm}-{dd}"),
            rare_dates=("{mm}/{dd}/{y}", "{m}/{d}/{y}"),
            thousands=",",
            point=".",
            money=("USD {}", "${}", "{} USD", "$ {}"),
            other_money=(),
            taxes=(5, 6, 8),
        ),
    ),
    (
        28,
        Country(
            faker="en_GB",
            language="en",
            words={**ENGLISH, "tax": ("VAT",)},
            dates=("{d} {mon} {y}", "{d} {month} {y}", "{y}-{mm}-{dd}"),
            rare_dates=("{dd}/{mm}/{y}", "{d}/{m}/{y}"),
            thousands=",",
            point=".",
            money=("GBP {}", "£{}"),
            other_money=("{} EUR",),
            taxes=(5, 20),
        ),
    ),
    (
        7,
        Country(
            faker="de_DE",
            language="de",
            words=GERMAN,
            dates=("{dd}.{mm}.{y}", "{d}.{m}.{y}"),
            rare_dates=("{d}. {month} {y}",),
            thousands=".",
            point=",",
            money=("{} EUR", "{} €"),
            other_money=(),
            taxes=(7, 19),
        ),
    ),
    (
        7,
        Country(
            faker="fr_FR",
            language="fr",
            words=FRENCH,
            dates=("{dd}/{mm}/{y}",),
            rare_dates=("{d} {month} {y}",),
            thousands=" ",
            point=",",
            money=("{} €", "{} EUR"),
            other_money=(),
            taxes=(10, 20),
        ),
    ),
    (
        6,
        Country(
            faker="es_ES",
            language="es",
            words=SPANISH,
            dates=("{dd}/{mm}/{y}", "{dd}-{mm}-{y}"),
            rare_dates=("{d} de {month} de {y}",),
            thousands=".",
            point=",",
            money=("{} €", "{} EUR"),
            other_money=(),
            taxes=(10, 21),
        ),
    ),
)


def write_date(day: date, pattern: str, language: str) -> str:
    """A date in a pattern."""
    month = MONTHS[language].split()[day.month - 1]
    return pattern.format(
        d=day.day,
        dd=f"{day.day:02}",
        m=day.month,
        mm=f"{day.month:02}",
        y=day.year,
        month=month,
        mon=month[:3],
    )


def write_number(amount: Decimal, thousands: str, point: str) -> str:
    """An amount with two decimals and these separators."""
    whole, _, cents = f"{amount:,.2f}".partition(".")
    return whole.replace(",", thousands) + point + cents
