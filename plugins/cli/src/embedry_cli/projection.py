"""Projects vectors to points in the plane, clusters the points, and names the clusters. Requires umap-learn."""

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
"""The number of neighbors that UMAP considers for each text; the default of UMAP."""

_WIDEST_GAP = 0.05
"""The maximum width of an empty band, as a share of the map's width or height without the outer 5% on each side."""

_MOST_CLUSTERS = 18
"""The number of distinguishable colors."""

_WORD = r"[^\W\d_]{2,}"
"""Two letters or more."""

_WORDS = 3
"""The maximum number of words in the name of a cluster."""


def plane(vectors: NDArray[np.float32], similarity: Similarity, show: Callable[[str], None]) -> NDArray[np.float32]:
    """Projects vectors to points in the plane, float32 (n, 2), with similar vectors near each other; reproducible.

    Uses UMAP, and narrows empty bands in the result. If there are no more vectors than UMAP's number of neighbors, uses
    the first two principal components instead.

    Args:
        vectors: float32 (n, dims); n must be at least 3.
        similarity: the similarity of the model. For the dot product, which is not a distance, uses the angle.
        show: called with the progress.
    """
    if len(vectors) <= _NEIGHBOURS:
        return _turned(vectors)
    mapping = umap.UMAP(
        n_neighbors=_NEIGHBOURS,
        metric="cosine" if similarity == "dot" else similarity,
        init="pca",  # keeps distant points distant, and works for every input, unlike a spectral start
        random_state=_SEED,
        n_jobs=1,  # a seed allows only one; UMAP warns if it is not set
        tqdm_kwds={"file": _Lines(show), "bar_format": "projecting: {percentage:.0f}%", "disable": False},
    )
    return _closed(_turned(mapping.fit_transform(vectors)))


def _closed(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Narrows empty bands, so that distant clusters and outliers do not compress the others.

    This loses no information, because the distances between clusters in UMAP mean little.
    """
    order = np.argsort(points, axis=0)
    ordered = np.take_along_axis(points, order, axis=0)
    # A small number of points has wide gaps everywhere.
    widest = max(_WIDEST_GAP, 4 / len(points)) * np.ptp(np.quantile(points, (0.05, 0.95), axis=0), axis=0)
    steps = np.minimum(np.diff(ordered, axis=0, prepend=ordered[:1]), widest)
    closed = np.empty_like(points)
    np.put_along_axis(closed, order, np.cumsum(steps, axis=0, dtype=np.float64).astype(np.float32), axis=0)
    return closed


def _turned(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first two principal components; the larger one is horizontal, as screens are wide."""
    points: NDArray[np.float32] = PCA(2, random_state=_SEED).fit_transform(vectors).astype(np.float32)
    return points


class _Lines(io.StringIO):
    """A stream that receives the progress of UMAP."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def write(self, text: str, /) -> int:
        """Shows a line unless it is blank."""
        if text.strip():
            self._show(text.strip())
        return len(text)


def clusters(points: NDArray[np.float32]) -> NDArray[np.intp]:
    """The cluster of each point (n, 2): consecutive integers (n,) from 0, the largest cluster.

    Uses k-means, whose clusters are compact and cover all points. Density-based clustering (HDBSCAN) puts nearly all
    texts into one cluster if their topics overlap.
    """
    count = min(_MOST_CLUSTERS, max(2, round((len(points) / 8) ** 0.5)))
    labels = KMeans(count, n_init=4, random_state=_SEED).fit_predict(points)
    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_size: NDArray[np.intp] = np.argsort(np.argsort(-sizes, kind="stable"))[labels]
    return by_size


def names(texts: Sequence[str], labels: NDArray[np.intp]) -> list[str]:
    """The most characteristic words of each cluster, by class-based tf-idf (Grootendorst, 2022, "BERTopic").

    The score is the share of a cluster's texts that contain a word, times the rarity of the word in all texts. Skips
    English stop words and further forms of a chosen word. A cluster without words is named by its number.
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
