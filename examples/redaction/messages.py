"""Generated messages to a customer service, with personal data.

A message is a few sentences with values of Faker in three languages. They also contain similar values that are not
personal: order numbers, product names, the company's telephone number, delivery dates, cities of shops.
"""

import random
import re
from collections.abc import Iterator
from typing import Any

from faker import Faker

LOCALES = {"en_US": "en", "de_DE": "de", "fr_FR": "fr"}
#: {kind} is personal and becomes a span; {_kind} only looks like it
SENTENCES = {
    "en": (
        "My name is {person} and I have been a customer for years.",
        "This is {person} writing again about order {_order}.",
        "Please call me back on {phone} after six.",
        "You can reach my wife {person} at {email}.",
        "Send the replacement to {address}, not to the old address.",
        "I was born on {date_of_birth}, in case you need it to find my account.",
        "My passport number is {id_number}.",
        "For the refund my account is {bank_account}.",
        "The driver spoke to my neighbour {person} instead.",
        "I ordered the {_product} on {_date} and it never came.",
        "Your shop in {_city} told me to write to you.",
        "I tried your hotline {_hotline} three times without luck.",
        "The invoice for order {_order} is wrong by two dollars.",
        "Nobody answered the message I sent from {email} last week.",
        "The {_product} works well, thank you.",
        "Reference {_order}, delivery of {_date}.",
        "Please delete everything you hold on {person}, born {date_of_birth}.",
        "The parcel is addressed to {person}, {address}.",
        "My tax number {id_number} is missing on the receipt.",
        "Is the {_product} still sold in {_city}?",
    ),
    "de": (
        "Mein Name ist {person}, Bestellung {_order}.",
        "Bitte rufen Sie mich unter {phone} zurück.",
        "Meine Adresse ist jetzt {address}.",
        "Die Erstattung bitte auf {bank_account}.",
        "Geboren bin ich am {date_of_birth}.",
        "Die Nummer meines Ausweises lautet {id_number}.",
        "Schreiben Sie bitte an {email}.",
        "Der Fahrer hat das Paket bei {person} abgegeben.",
        "Der Artikel {_product} ist am {_date} nicht angekommen.",
        "In Ihrer Filiale in {_city} konnte mir niemand helfen.",
        "Ihre Hotline {_hotline} ist immer besetzt.",
        "Die Rechnung zu {_order} stimmt nicht.",
    ),
    "fr": (
        "Je m'appelle {person} et j'attends la commande {_order}.",
        "Vous pouvez me joindre au {phone}.",
        "Ma nouvelle adresse est {address}.",
        "Merci de rembourser sur le compte {bank_account}.",
        "Je suis né le {date_of_birth}.",
        "Mon numéro de passeport est {id_number}.",
        "Écrivez à mon mari {person}, {email}.",
        "Le produit {_product} n'est pas arrivé le {_date}.",
        "La boutique de {_city} ne répond pas.",
        "Votre numéro {_hotline} sonne occupé.",
        "La facture de la commande {_order} est fausse.",
    ),
}
CLOSING = {
    "en": ("Regards, {person}", "Thanks", "Best, {person}", "Please help.", ""),
    "de": ("Mit freundlichen Grüßen, {person}", "Danke", "Gruß {person}", ""),
    "fr": ("Cordialement, {person}", "Merci d'avance", ""),
}
PRODUCTS = ("Jupiter 300", "Silva lamp", "kettle Mona", "Anders chair", "Vera 2 headset", "Marco grill", "Odin drill")
HOTLINES = {"en": "1-800-555-0100", "de": "0800 555 0100", "fr": "0 800 555 010"}
_SLOT = re.compile(r"\{(\w+)\}")


def messages(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Rows ``{"id", "text", "gold": {"spans": [{"type", "text"}, ...]}}``; the spans in the order of the text."""
    rng = random.Random(seed)
    fakers = {locale: Faker(locale, use_weighting=False) for locale in LOCALES}
    for faker in fakers.values():
        faker.seed_instance(seed)
    for number in range(1, count + 1):
        locale = rng.choices(list(LOCALES), weights=(3, 1, 1))[0]
        language = LOCALES[locale]
        parts = rng.sample(SENTENCES[language], rng.randint(1, 4))
        parts.append(rng.choice(CLOSING[language]))
        text, spans = _fill(" ".join(part for part in parts if part), fakers[locale], language, rng)
        yield {"id": f"message-{number:04}", "text": text, "gold": {"spans": spans}, "language": language}


def _fill(pattern: str, faker: Faker, language: str, rng: random.Random) -> tuple[str, list[dict[str, str]]]:
    spans: list[dict[str, str]] = []

    def value(slot: re.Match[str]) -> str:
        kind = slot.group(1)
        if kind.startswith("_"):
            return _harmless(kind, faker, language, rng)
        text = _personal(kind, faker, rng)
        spans.append({"type": kind, "text": text})
        return text

    return _SLOT.sub(value, pattern), spans


def _personal(kind: str, faker: Faker, rng: random.Random) -> str:
    match kind:
        case "person":
            return rng.choice((faker.name, faker.name_female, faker.name_male))().replace("\n", " ")
        case "email":
            return str(faker.ascii_safe_email())
        case "phone":
            return str(faker.phone_number())
        case "address":
            return str(faker.address()).replace("\n", ", ")
        case "date_of_birth":
            born = faker.date_of_birth(minimum_age=18, maximum_age=90)
            return str(born.strftime(rng.choice(("%d.%m.%Y", "%Y-%m-%d", "%d/%m/%Y", "%B %d, %Y"))))
        case "id_number":
            return str(faker.bothify(rng.choice(("?########", "??######", "#### #### ###"))).upper())
        case "bank_account":
            iban = str(faker.iban())
            return iban if rng.random() < 0.5 else " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))
    raise ValueError(f"no such kind: {kind}")


def _harmless(kind: str, faker: Faker, language: str, rng: random.Random) -> str:
    match kind:
        case "_order":
            return rng.choice(("A-{:05}", "{:08}", "PO{:06}")).format(rng.randint(1, 99_999))
        case "_product":
            return rng.choice(PRODUCTS)
        case "_date":
            return str(faker.date_this_year().strftime(rng.choice(("%d.%m.%Y", "%Y-%m-%d", "%d/%m/%Y"))))
        case "_city":
            return str(faker.city())
        case "_hotline":
            return HOTLINES[language]
    raise ValueError(f"no such kind: {kind}")
