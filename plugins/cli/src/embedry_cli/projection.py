"""From vectors to a map: points in the plane, clusters of them, and names for those. Importing this needs umap-learn."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedry.spec import Similarity
from embedry_cli.errors import MissingExtraError

try:
    import umap
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.feature_extraction.text import CountVectorizer
except ImportError as error:
    raise MissingExtraError('a map needs umap-learn; try: pip install "embedry[map]"') from error

_SEED = 0

_NEIGHBOURS = 15
"""Of each text, which UMAP keeps near it. It is UMAP's default."""

_WIDEST_GAP = 0.05
"""Of the map's width or height without the outer twentieths: the most that an empty band across the map takes."""

_MOST_CLUSTERS = 18
"""As many as there are distinguishable colours."""

_WORD = r"[^\W\d_]{2,}"
"""Two letters or more."""

_WORDS = 3
"""Of a cluster's name."""


def plane(vectors: NDArray[np.float32], similarity: Similarity, show: Callable[[str], None]) -> NDArray[np.float32]:
    """Points in the plane, float32 (n, 2), near each other where vectors (n, dims) are similar; reproducible.

    Uses UMAP, and narrows empty bands across its plane. If there are no more vectors than the neighbours that it considers
    of each, they are laid out by their two principal components.

    Args:
        vectors: float32 (n, dims) with n of at least 3.
        similarity: by which the vectors are compared. A dot product is not a distance, so the angle is used.
        show: called with the progress.
    """
    if len(vectors) <= _NEIGHBOURS:
        return _turned(vectors)
    mapping = umap.UMAP(
        n_neighbors=_NEIGHBOURS,
        metric="cosine" if similarity == "dot" else similarity,
        init="pca",  # keeps distant points distant, and works for every input; a spectral start does not
        random_state=_SEED,
        n_jobs=1,  # a seed allows only one; UMAP warns if it is not set
        tqdm_kwds={"file": _Lines(show), "bar_format": "projecting: {percentage:.0f}%", "disable": False},
    )
    return _closed(_turned(mapping.fit_transform(vectors)))


def _closed(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The points with empty bands narrowed, so that neither a far cluster nor an outlier costs the others their room.

    Nothing that can be read from the map is lost: how far apart UMAP puts two clusters means little.
    """
    order = np.argsort(points, axis=0)
    ordered = np.take_along_axis(points, order, axis=0)
    # Few points have wide gaps between them everywhere.
    widest = max(_WIDEST_GAP, 4 / len(points)) * np.ptp(np.quantile(points, (0.05, 0.95), axis=0), axis=0)
    steps = np.minimum(np.diff(ordered, axis=0, prepend=ordered[:1]), widest)
    closed = np.empty_like(points)
    np.put_along_axis(closed, order, np.cumsum(steps, axis=0, dtype=np.float64).astype(np.float32), axis=0)
    return closed


def _turned(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The two principal components, the longer one across, as screens are."""
    points: NDArray[np.float32] = PCA(2, random_state=_SEED).fit_transform(vectors).astype(np.float32)
    return points


class _Lines(io.StringIO):
    """What UMAP writes its progress to."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def write(self, text: str, /) -> int:
        """Shows a line that is not blank."""
        if text.strip():
            self._show(text.strip())
        return len(text)


def clusters(points: NDArray[np.float32]) -> NDArray[np.intp]:
    """The cluster of each point (n, 2): integers (n,) from 0, the largest cluster, on without gaps.

    By k-means: its clusters lie together and leave nothing out. Those that follow density (HDBSCAN) find, in texts that
    shade into each other, one cluster of nearly everything.
    """
    count = min(_MOST_CLUSTERS, max(2, round((len(points) / 8) ** 0.5)))
    labels = KMeans(count, n_init=4, random_state=_SEED).fit_predict(points)
    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_size: NDArray[np.intp] = np.argsort(np.argsort(-sizes, kind="stable"))[labels]
    return by_size


def names(texts: Sequence[str], labels: NDArray[np.intp]) -> list[str]:
    """The most characteristic words of each cluster, by class-based tf-idf (Grootendorst, 2022, "BERTopic").

    That is the part of a cluster's texts that have a word, times how rare the word is in all of them. Words of the
    English stop list are left out, and so are further forms of a chosen word. A cluster without words is named by its
    number.
    """
    reader = CountVectorizer(binary=True, stop_words="english", token_pattern=_WORD)
    try:
        found = reader.fit_transform(texts)
    except ValueError:  # how scikit-learn reports that no text contains a word
        return [f"cluster {label + 1}" for label in range(labels.max() + 1)]
    words = reader.get_feature_names_out()
    by_cluster = np.array([found[labels == label].mean(axis=0).A1 for label in range(labels.max() + 1)])
    scores = by_cluster * np.log1p(len(texts) / found.sum(axis=0).A1)
    return [_name(words, row) or f"cluster {label + 1}" for label, row in enumerate(scores)]


def _name(words: NDArray[np.object_], scores: NDArray[np.float64]) -> str:
    chosen: list[str] = []
    for position in np.argsort(-scores, kind="stable")[: 5 * _WORDS]:
        word = str(words[position])
        if scores[position] > 0 and not any(word.startswith(one[:4]) for one in chosen):
            chosen.append(word)
    return ", ".join(chosen[:_WORDS])
