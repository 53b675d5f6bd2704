"""LangChain's own standard tests, unmodified."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, VectorStoreIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from embedry_langchain import EmbedryEmbeddings, create_vector_store


@pytest.fixture(autouse=True)
def _the_real_model(minilm: object) -> None: ...


class OurModel:
    @property
    def embeddings_class(self) -> type[EmbedryEmbeddings]:
        return EmbedryEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "all-MiniLM-L6-v2"}


class TestEmbeddings(OurModel, EmbeddingsUnitTests): ...


class TestEmbeddingsAtWork(OurModel, EmbeddingsIntegrationTests): ...


class TestStoreInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> VectorStore:
        return create_vector_store(self.get_embeddings())


class TestStoreInAFolder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> VectorStore:
        return create_vector_store(self.get_embeddings(), tmp_path / "store")
