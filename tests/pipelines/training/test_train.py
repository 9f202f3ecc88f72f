"""Training learns what a pooled model cannot, goes on where it was cut off, and says what it rests on."""



from pipelines.train import train


def test_order_is_learned_by_vis4mer_and_not_by_the_pooled_baseline(make_data, recipe_for):
    data = make_data({"train": 32, "val": 16})
    order = train(recipe_for(data, epochs=25, out=str(data / "order")))
    pooled = train(recipe_for(data, epochs=25, out=str(data / "pooled"), decoder={"name": "mean-linear"}))
    assert order.validation["accuracy"].mean >= 0.95
    assert pooled.validation["accuracy"].mean <= 0.8
