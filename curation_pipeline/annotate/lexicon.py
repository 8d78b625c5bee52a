"""Word lists that annotators share."""

from __future__ import annotations

# fmt: off
STOP_WORDS: tuple[str, ...] = (
    "a", "about", "above", "after", "again", "against", "all", "also", "am", "an", "and", "another", "any", "are",
    "arent", "as", "at", "away", "back", "be", "because", "been", "before", "being", "below", "between", "both",
    "but", "by", "came", "can", "cannot", "cant", "come", "could", "couldnt", "did", "didnt", "do", "does",
    "doesnt", "doing", "done", "dont", "down", "during", "each", "either", "else", "even", "ever", "every", "few",
    "for", "from", "further", "get", "gets", "go", "goes", "going", "got", "had", "has", "hasnt", "have", "havent",
    "having", "he", "her", "here", "hers", "herself", "hes", "him", "himself", "his", "how", "however", "i", "id",
    "if", "ill", "im", "in", "into", "is", "isnt", "it", "its", "itself", "ive", "just", "let", "like", "made",
    "make", "many", "may", "me", "might", "mine", "more", "most", "much", "must", "my", "myself", "neither",
    "never", "no", "nor", "not", "now", "of", "off", "often", "on", "once", "one", "only", "onto", "or", "other",
    "others", "our", "ours", "ourselves", "out", "over", "own", "per", "perhaps", "rather", "really", "said",
    "same", "say", "says", "see", "seem", "seems", "several", "shall", "she", "shes", "should", "shouldnt", "since",
    "so", "some", "someone", "something", "still", "such", "than", "that", "thats", "the", "their", "theirs",
    "them", "themselves", "then", "there", "therefore", "theres", "these", "they", "theyre", "thing", "things",
    "this", "those", "though", "through", "thus", "to", "together", "too", "toward", "under", "until", "up", "upon",
    "us", "very", "via", "was", "wasnt", "way", "we", "well", "went", "were", "werent", "what", "whats", "when",
    "where", "whether", "which", "while", "who", "whom", "whose", "why", "will", "with", "within", "without",
    "wont", "would", "wouldnt", "yet", "you", "your", "youre", "yours", "yourself", "yourselves",
)
# fmt: on
"""English function words in lower case; apostrophes are dropped from words before they are looked up."""
