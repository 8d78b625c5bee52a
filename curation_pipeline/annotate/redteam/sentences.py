"""Neutral sentences: about every group of ``annotate/identity.py``, and such as change with dialect.

Dixon et al. (2018, "Measuring and mitigating unintended bias in text classification") fill templates with identity
terms and compare the false positives. The sentences are this project's own: everyday life, nothing good or bad said of
anyone, so any difference between two groups is the detector's.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class IdentityTerm:
    """How a group is named: its category of ``identity.TERMS``, one person, and several."""

    category: str
    one: str
    many: str


def _people(category: str, *adjectives: str) -> tuple[IdentityTerm, ...]:
    return tuple(IdentityTerm(category, f"{word} person", f"{word} people") for word in adjectives)


def _nouns(category: str, *nouns: str) -> tuple[IdentityTerm, ...]:
    return tuple(IdentityTerm(category, noun, f"{noun}s") for noun in nouns)


TERMS: tuple[IdentityTerm, ...] = (
    *_people("orientation", "gay", "bisexual", "homosexual", "heterosexual", "queer", "asexual", "pansexual", "LGBT"),
    *_nouns("orientation", "lesbian"),
    IdentityTerm("orientation", "gay man", "gay men"),
    *_nouns("religion", "Muslim", "Christian", "Hindu", "Buddhist", "Sikh", "Catholic", "Protestant", "Mormon"),
    *_nouns("religion", "atheist"),
    *_people("religion", "Jewish"),
    *_nouns("race", "African American", "Asian American", "Native American", "Arab", "Latino", "Latina"),
    *_people("race", "Black", "white", "brown", "Asian", "Hispanic", "Indigenous"),
    *_people("disability", "disabled", "deaf", "blind", "autistic", "dyslexic"),
    *_nouns("disability", "wheelchair user"),
    IdentityTerm("disability", "person with a disability", "people with disabilities"),
    *_nouns("gender", "girl", "boy"),
    IdentityTerm("gender", "woman", "women"),
    IdentityTerm("gender", "man", "men"),
    IdentityTerm("gender", "lady", "ladies"),
    IdentityTerm("gender", "trans woman", "trans women"),
    IdentityTerm("gender", "trans man", "trans men"),
    *_people("gender", "transgender", "non-binary"),
)
"""The groups named; each term is in every template."""

TEMPLATES: tuple[str, ...] = (
    "I am {one}.",
    "You are {one}, I believe.",
    "My neighbour is {one}.",
    "My cousin is {one} and lives in the next town.",
    "There is {one} in our choir.",
    "We met {one} on the train to the coast.",
    "The new player on our team is {one}.",
    "As {one}, I like to read in the evening.",
    "The main character of the novel is {one}.",
    "{one} sat beside me at the concert.",
    "{one} asked me what time it was.",
    "Yesterday {one} bought apples at the market.",
    "The photo shows {one} under an old tree.",
    "On Tuesday {one} came to visit the museum.",
    "Every morning {one} feeds the birds in our park.",
    "I saw {one} walking along the river.",
    "The prize for the best drawing went to {one}.",
    "At the library {one} helped me find the map.",
    "{one} will play the piano at the party.",
    "She described herself as {one} from the north.",
    "For dinner {one} made soup with carrots.",
    "In the first scene {one} opens a window.",
    "The seat by the door was taken by {one}.",
    "It was raining when {one} left the house.",
    "The letter was written by {one} in 1954.",
    "{many} live in this street.",
    "Many of my friends are {many}.",
    "We invited {many} to the summer festival.",
    "The survey asked {many} how they travel to work.",
    "{many} make up a third of the class.",
    "The documentary follows {many} through one year.",
    "Several {many} came to the town meeting.",
    "{many} and their families filled the hall.",
    "The club is open to {many} and to everyone else.",
    "Our city is home to {many}.",
    "Two {many} were waiting at the bus stop.",
    "The book collects letters by {many}.",
    "In the afternoon {many} played football on the beach.",
    "{many} have lunch at twelve, like all of us.",
    "A group of {many} planted trees near the station.",
    "The article is about {many} who run small shops.",
    "I learned a lot about cooking from {many}.",
    "Some {many} drink tea and some drink coffee.",
    "The course is taught by {many}.",
    "The census counted {many} for the first time in 1990.",
    "Both {many} laughed at the joke about the weather.",
    "The choir of {many} sings on Sundays.",
    "{many} told the radio how they spent the holidays.",
)
"""Sentences with the place of one person, article included, or of several."""

SPOKEN: tuple[str, ...] = (
    "She is working at the bakery today.",
    "They are going to the store after lunch.",
    "He is always talking about his garden.",
    "We are not going to the lake this weekend.",
    "He is not home right now.",
    "They don't have any bread left.",
    "She doesn't know anything about the trip.",
    "I haven't seen anybody at the bus stop.",
    "My brother is playing outside with the dog.",
    "My sister is usually cooking when we get home.",
    "I am about to make some coffee.",
    "I am going to call my mother tonight.",
    "They are going to be late for the movie.",
    "She has already finished her homework.",
    "We have already told them about the picnic.",
    "I have been waiting for the train since nine.",
    "He has been working at the school for years.",
    "Are you all coming to dinner on Sunday?",
    "All of you are welcome at our house.",
    "I am trying to find my other shoe.",
    "We are trying to get tickets for the game.",
    "She is running late but she is coming.",
    "They are looking for the keys again.",
    "He doesn't like coffee in the morning.",
    "It doesn't matter what time we start.",
    "Nothing is happening at the park today.",
    "I am not doing anything this afternoon.",
    "She isn't feeling well, so she is staying at home.",
    "You are looking good in that coat.",
    "We aren't worried about anything.",
    "He usually plays the drums after church.",
    "My aunt always sings when she is cleaning.",
    "They usually walk to school together.",
    "I want to learn how to swim this summer.",
    "She is so happy about the new baby.",
    "We are still eating, so please wait for us.",
)
"""Neutral sentences in standard spelling, whose grammar differs between varieties of English."""


def identity_sentences() -> pl.DataFrame:
    """Every term in every template.

    Returns:
        ``len(TERMS) * len(TEMPLATES)`` rows in the order of the terms, then of the templates; columns category, term,
        template (its index), text.
    """
    rows = [
        (term.category, term.one, index, _filled(template, term))
        for term in TERMS
        for index, template in enumerate(TEMPLATES)
    ]
    schema = {"category": pl.Utf8, "term": pl.Utf8, "template": pl.Int32, "text": pl.Utf8}
    return pl.DataFrame(rows, schema=schema, orient="row")


def article(word: str) -> str:
    """The indefinite article before a word, by its first letter: no term here sounds otherwise."""
    return "an" if word[:1].lower() in "aeiou" else "a"


def _filled(template: str, term: IdentityTerm) -> str:
    # "LGBT" is spelled out when it is read: an L begins with a vowel.
    one = f"{'an' if term.one.startswith('LGBT') else article(term.one)} {term.one}"
    text = template.format(one=one, many=term.many)
    return text[0].upper() + text[1:]
