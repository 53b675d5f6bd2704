def test_x(minilm, checkpoint):
    assert minilm.encode_query(["a"]).shape == (1, 384)
    from embedry import resolve
    e = resolve(checkpoint("mpnet", "cls", dense=None))
    print(e.spec, e.encode_query(["x"]))
