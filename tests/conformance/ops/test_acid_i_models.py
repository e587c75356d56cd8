"""Acid tests I: models and their versions, as a real boto3 sees them."""

import pytest

M = {"modelId": "m1", "modelType": "ONLINE_FRAUD_INSIGHTS"}
V = {**M, "modelVersionNumber": "1.0"}
TFI = {"modelId": "t1", "modelType": "TRANSACTION_FRAUD_INSIGHTS"}
ROLE = "arn:aws:iam::123456789012:role/afd"
LABELS = {"labelMapper": {"FRAUD": ["fraud"], "LEGIT": ["legit"]}}
SCHEMA = {"modelVariables": ["email", "amt"], "labelSchema": LABELS}
EXTERNAL = {"dataLocation": "s3://b/train.csv", "dataAccessRoleArn": ROLE}
WINDOW = {"startTime": "2021-05-01T00:00:00Z", "endTime": "2021-06-01T00:00:00Z"}
INGESTED = {"ingestedEventsTimeWindow": WINDOW}


@pytest.fixture
def model(afd):
    """The account with model m1."""
    afd.c.create_model(eventTypeName="pay", **M)
    return afd


@pytest.fixture
def training(model):
    """m1 with version 1.0 in training."""
    train(model)
    return model


@pytest.fixture
def trained(training):
    """m1 with version 1.0 trained."""
    training.finish_training(M, "1.0")
    return training


@pytest.fixture
def deployed(trained):
    """m1 with version 1.0 deployed."""
    deploy(trained)
    return trained


@pytest.fixture
def in_use(deployed):
    """Version 1.0 of m1 in the draft version 3 of the detector."""
    deployed.mkrule("score", "$m1_insightscore >= 0")
    deployed.c.create_detector_version(
        detectorId="det", rules=[deployed.rule("score")], modelVersions=[{**M, "modelVersionNumber": "1.00"}]
    )
    return deployed


def train(afd, **other):
    request = {
        "trainingDataSource": "EXTERNAL_EVENTS",
        "trainingDataSchema": SCHEMA,
        "externalEventsDetail": EXTERNAL,
        **M,
    }
    request |= other
    return afd.c.create_model_version(**{name: value for name, value in request.items() if value is not None})


def refused(afd, **other) -> str:
    return afd.ve(train, afd, **other)


def deploy(afd, status: str = "ACTIVE") -> None:
    assert afd.done(afd.c.update_model_version_status(status=status, **V))


def status(afd, number: str = "1.0") -> str:
    return afd.c.get_model_version(modelVersionNumber=number, **M)["status"]


def test_i1_a_model_brings_its_score_variable(model):
    (score,) = model.c.get_variables(name="m1_insightscore")["variables"]
    assert (score["dataType"], score["dataSource"], score["defaultValue"]) == ("FLOAT", "MODEL_SCORE", "0.0")
    assert score["variableType"] == "NUMERIC"


def test_i1_a_score_variable_made_by_hand_is_adopted_if_it_fits(afd):
    hand = {"name": "m1_insightscore", "dataType": "FLOAT", "defaultValue": "0.0"}
    afd.c.create_variable(dataSource="EVENT", **hand)
    afd.ve(afd.c.create_model, eventTypeName="pay", **M)
    afd.rnf(afd.c.get_models, **M)
    afd.c.delete_variable(name="m1_insightscore")
    afd.c.create_variable(dataSource="MODEL_SCORE", **hand)
    assert afd.done(afd.c.create_model(eventTypeName="pay", **M))


def test_i2_a_model_is_created_once(model):
    model.ve(model.c.create_model, eventTypeName="pay", **M)


def test_i3_the_score_variable_of_a_model_stays(model):
    model.ce(model.c.delete_variable, name="m1_insightscore")


def test_i4_a_model_needs_its_event_type(afd):
    afd.ve(afd.c.create_model, eventTypeName="nope", **M)


def test_i5_the_detail_of_the_source_is_needed_and_no_other(model):
    refused(model, externalEventsDetail=None)
    refused(model, ingestedEventsDetail=INGESTED)
    refused(model, trainingDataSource="INGESTED_EVENTS")
    refused(model, trainingDataSource="INGESTED_EVENTS", externalEventsDetail=None)


def test_i5_a_window_must_end_after_its_start(model):
    for window in (
        {"startTime": WINDOW["endTime"], "endTime": WINDOW["startTime"]},
        {"startTime": WINDOW["startTime"], "endTime": WINDOW["startTime"]},
        {"startTime": "once upon a time", "endTime": WINDOW["endTime"]},
    ):
        refused(
            model,
            trainingDataSource="INGESTED_EVENTS",
            externalEventsDetail=None,
            ingestedEventsDetail={"ingestedEventsTimeWindow": window},
        )


def test_i6_unknown_variables_are_named_exactly(model):
    schema = SCHEMA | {"modelVariables": ["EVENT_TIMESTAMP", "amt"]}
    message = model.rnf(train, model, trainingDataSchema=schema)
    assert message == "VariableIds: [EVENT_TIMESTAMP] do not exist."


def test_i6_variables_must_be_typed_distinct_and_part_of_the_event_type(model):
    new = {"dataType": "FLOAT", "dataSource": "EVENT", "defaultValue": "0.0"}
    model.c.create_variable(name="plain", **new)
    model.c.create_variable(name="other", variableType="NUMERIC", **new)
    model.c.put_event_type(
        name="pay",
        eventVariables=["email", "amt", "vip", "plain"],
        entityTypes=["customer"],
        labels=["fraud", "legit"],
    )
    for variables in (["email", "other"], ["email", "plain"], ["email"], ["email", "amt", "amt"]):
        refused(model, trainingDataSchema=SCHEMA | {"modelVariables": variables})


@pytest.mark.parametrize(
    "mapper",
    [
        {},
        {"FRAUD": ["fraud"]},
        {"FRAUD": ["fraud"], "LEGIT": []},
        {"FRAUD": ["fraud"], "LEGIT": ["legit"], "OTHER": ["legit"]},
        {"FRAUD": ["fraud"], "LEGIT": ["fraud"]},
        {"FRAUD": ["fraud"], "LEGIT": ["nope"]},
    ],
)
def test_i6_labels_must_map_to_fraud_and_legit(model, mapper):
    refused(model, trainingDataSchema=SCHEMA | {"labelSchema": {"labelMapper": mapper}})


def test_i6_labels_are_needed(model):
    refused(model, trainingDataSchema={"modelVariables": ["email", "amt"]})


def test_i6_an_unknown_model_is_not_found(afd):
    afd.rnf(train, afd)


def test_i7_transaction_models_train_from_stored_events_only(afd):
    afd.c.create_model(eventTypeName="pay", **TFI)
    refused(afd, **TFI)
    answer = train(
        afd,
        trainingDataSource="INGESTED_EVENTS",
        externalEventsDetail=None,
        ingestedEventsDetail=INGESTED,
        **TFI,
    )
    assert answer["modelVersionNumber"] == "1.0"
    shown = afd.c.get_model_version(modelVersionNumber="1.0", **TFI)
    assert shown["ingestedEventsDetail"] == INGESTED
    assert "externalEventsDetail" not in shown


def test_i7_account_takeover_models_cannot_be_trained_yet(afd):
    ati = {"modelId": "a1", "modelType": "ACCOUNT_TAKEOVER_INSIGHTS"}
    afd.c.create_model(eventTypeName="pay", **ati)
    assert "not available in this version" in refused(afd, **ati)


def test_i8_a_training_starts_as_version_1_0(model):
    assert model.body(train(model)) == {**V, "status": "TRAINING_IN_PROGRESS"}


def test_i9_one_training_at_a_time(training):
    assert "Simultaneous training for the same major version not allowed" in refused(training)


def test_i9_three_trainings_of_an_account_at_a_time(training):
    for number in range(2, 4):
        other = {"modelId": f"m{number}", "modelType": M["modelType"]}
        training.c.create_model(eventTypeName="pay", **other)
        train(training, **other)
    training.c.create_model(eventTypeName="pay", modelId="m4", modelType=M["modelType"])
    refused(training, modelId="m4")


def test_i10_a_version_shows_what_was_asked_for(training):
    shown = training.body(training.c.get_model_version(**V))
    assert shown == {
        **V,
        "trainingDataSource": "EXTERNAL_EVENTS",
        "trainingDataSchema": SCHEMA,
        "externalEventsDetail": EXTERNAL,
        "status": "TRAINING_IN_PROGRESS",
        "arn": f"arn:aws:frauddetector:us-east-1:{training.account}:model-version/{M['modelType']}/m1/1.0",
    }


def test_i10_a_version_in_training_has_no_result(training):
    (detail,) = training.c.describe_model_versions(**V)["modelVersionDetails"]
    assert "trainingResult" not in detail
    assert detail["createdTime"] == detail["lastUpdatedTime"]


def test_i11_an_unknown_version_is_not_found(training):
    unknown = {**M, "modelVersionNumber": "9.0"}
    training.rnf(training.c.get_model_version, **unknown)
    training.rnf(training.c.describe_model_versions, **unknown)
    training.rnf(training.c.update_model_version_status, status="ACTIVE", **unknown)


def test_i11_1_00_is_1_0_everywhere(trained):
    same = {**M, "modelVersionNumber": "1.00"}
    assert trained.c.get_model_version(**same)["modelVersionNumber"] == "1.0"
    (detail,) = trained.c.describe_model_versions(**same)["modelVersionDetails"]
    assert detail["modelVersionNumber"] == "1.0"
    trained.c.update_model_version_status(status="ACTIVE", **same)
    assert status(trained) == "ACTIVE"
    trained.c.update_model_version_status(status="INACTIVE", **same)
    trained.c.delete_model_version(**same)
    trained.rnf(trained.c.get_model_version, **V)


def test_i12_versions_are_described_by_type_model_and_number(training):
    c = training.c
    training.ve(c.describe_model_versions, modelId="m1")
    training.ve(c.describe_model_versions, modelVersionNumber="1.0")
    training.ve(c.describe_model_versions, modelType=M["modelType"], modelVersionNumber="1.0")
    training.rnf(c.describe_model_versions, modelType=M["modelType"], modelId="nope")
    for wanted in ({}, {"modelType": M["modelType"]}, M, V):
        assert len(c.describe_model_versions(**wanted)["modelVersionDetails"]) == 1
    assert c.describe_model_versions(modelType=TFI["modelType"])["modelVersionDetails"] == []


def test_i13_a_trained_version_shows_its_results(trained):
    (detail,) = trained.c.describe_model_versions(**V)["modelVersionDetails"]
    metrics = detail["trainingResult"]["trainingMetrics"]
    assert 0 <= metrics["auc"] <= 1
    assert all(
        set(point) == {"fpr", "precision", "tpr", "threshold"} for point in metrics["metricDataPoints"]
    )
    assert detail["trainingResultV2"]["trainingMetricsV2"]["ofi"]["modelPerformance"]["auc"] == metrics["auc"]
    assert detail["trainingDataSource"] == "EXTERNAL_EVENTS"


def test_i14_a_version_is_deployed_and_taken_back(trained):
    deploy(trained)
    assert status(trained) == "ACTIVE"
    deploy(trained)  # asked for again: no change
    deploy(trained, "INACTIVE")
    assert status(trained) == "TRAINING_COMPLETE"


def test_i15_what_is_not_deployed_cannot_be_taken_back(trained):
    trained.ve(trained.c.update_model_version_status, status="INACTIVE", **V)
    trained.ve(trained.c.update_model_version_status, status="TRAINING_CANCELLED", **V)


def test_i15_what_is_in_training_cannot_be_deployed(training):
    training.ve(training.c.update_model_version_status, status="ACTIVE", **V)


def test_i16_only_a_deployed_version_can_be_used(trained):
    rules = trained.RULES
    trained.ve(trained.c.create_detector_version, detectorId="det", rules=rules, modelVersions=[V])


def test_i16_a_model_of_another_event_type_or_named_twice_is_refused(deployed):
    deployed.c.put_event_type(name="p2", eventVariables=["amt"], entityTypes=["customer"])
    deployed.c.put_detector(detectorId="d2", eventTypeName="p2")
    deployed.mkrule("r", "$amt > 1", detector="d2")
    create = deployed.c.create_detector_version
    deployed.ve(create, detectorId="d2", rules=[deployed.rule("r", detector="d2")], modelVersions=[V])
    deployed.ve(create, detectorId="det", rules=deployed.RULES, modelVersions=[V, V])


def test_i17_even_a_draft_keeps_its_model_deployed(in_use):
    in_use.ce(in_use.c.update_model_version_status, status="INACTIVE", **V)
    shown = in_use.c.get_detector_version(detectorId="det", detectorVersionId="3")
    assert shown["modelVersions"] == [V]


def test_i18_a_deployed_version_and_its_model_stay(deployed):
    deployed.ce(deployed.c.delete_model_version, **V)
    deployed.ce(deployed.c.delete_model, **M)


def test_i18_a_version_in_training_stays(training):
    training.ce(training.c.delete_model_version, **V)


def test_i18_everything_can_be_cleaned_up_in_order(in_use):
    c = in_use.c
    c.delete_detector_version(detectorId="det", detectorVersionId="3")
    deploy(in_use, "INACTIVE")
    assert in_use.done(c.delete_model_version(**V))
    in_use.ce(c.delete_model, **M)  # a rule names its score
    c.delete_rule(rule=in_use.rule("score"))
    assert in_use.done(c.delete_model(**M))
    in_use.rnf(c.get_models, **M)
    in_use.rnf(c.get_variables, name="m1_insightscore")


def test_i19_retraining_makes_a_minor_version(trained):
    answer = trained.c.update_model_version(majorVersionNumber="1", externalEventsDetail=EXTERNAL, **M)
    assert answer["modelVersionNumber"] == "1.01"
    assert answer["status"] == "TRAINING_IN_PROGRESS"
    shown = trained.c.get_model_version(modelVersionNumber="1.01", **M)
    assert shown["trainingDataSchema"] == SCHEMA
    again = {"majorVersionNumber": "1", "externalEventsDetail": EXTERNAL, **M}
    message = trained.ve(trained.c.update_model_version, **again)
    assert "Simultaneous training for the same major version not allowed" in message
    numbers = [
        detail["modelVersionNumber"]
        for detail in trained.c.describe_model_versions(**M)["modelVersionDetails"]
    ]
    assert numbers == ["1.0", "1.01"]


def test_i19_retraining_needs_its_major_version_and_source(trained):
    update = trained.c.update_model_version
    trained.rnf(update, majorVersionNumber="2", externalEventsDetail=EXTERNAL, **M)
    trained.rnf(update, majorVersionNumber="1", externalEventsDetail=EXTERNAL, **TFI)
    trained.ve(update, majorVersionNumber="1", **M)
    trained.ve(update, majorVersionNumber="1", ingestedEventsDetail=INGESTED, **M)


def test_i20_a_training_can_be_cancelled(training):
    deploy(training, "TRAINING_CANCELLED")
    assert status(training) == "TRAINING_CANCELLED"
    assert training.body(train(training))["modelVersionNumber"] == "2.0"
    assert training.done(training.c.delete_model_version(**V))


def test_i21_a_deployed_model_scores(in_use):
    answer = in_use.c.get_event_prediction(**in_use.ev("e1", {"amt": "5"}, detectorVersionId="3"))
    (scored,) = answer["modelScores"]
    assert scored["modelVersion"] == V
    score = scored["scores"]["m1_insightscore"]
    assert type(score) is float
    assert 0 <= score <= 1000
    assert score == int(score)
    assert answer["ruleResults"] == [{"ruleId": "score", "outcomes": ["ok"]}]


def test_i22_the_score_variable_goes_with_the_model(model):
    assert model.done(model.c.delete_model(**M))
    model.rnf(model.c.get_variables, name="m1_insightscore")


def test_i22_a_score_variable_shared_by_two_types_goes_with_the_last(model):
    model.c.create_model(eventTypeName="pay", modelId="m1", modelType=TFI["modelType"])
    model.c.delete_model(**M)
    assert model.c.get_variables(name="m1_insightscore")["variables"]
    model.c.delete_model(modelId="m1", modelType=TFI["modelType"])
    model.rnf(model.c.get_variables, name="m1_insightscore")


def test_i22_a_model_made_anew_numbers_its_versions_from_1_0(training):
    for _ in range(2):
        deploy(training, "TRAINING_CANCELLED")
        training.c.delete_model_version(**V)
        training.c.delete_model(**M)
        training.c.create_model(eventTypeName="pay", **M)
        assert train(training)["modelVersionNumber"] == "1.0"


def test_i23_an_unknown_model_is_not_found_and_an_id_needs_its_type(afd):
    afd.rnf(afd.c.get_models, **M)
    afd.rnf(afd.c.update_model, description="d", **M)
    afd.ve(afd.c.get_models, modelId="m1")


def test_i24_the_description_of_a_model_can_change(model):
    assert model.done(model.c.update_model(description="d", **M))
    (shown,) = model.c.get_models(**M)["models"]
    assert (shown["description"], shown["eventTypeName"]) == ("d", "pay")
    assert shown["arn"].endswith(":model/ONLINE_FRAUD_INSIGHTS/m1")
    assert len(model.c.get_models(modelType=M["modelType"])["models"]) == 1
    assert model.c.get_models(modelType=TFI["modelType"])["models"] == []


def test_i25_an_event_type_of_a_model_stays(model):
    model.c.put_event_type(name="p2", eventVariables=["amt"], entityTypes=["customer"])
    model.c.create_model(eventTypeName="p2", modelId="m2", modelType=M["modelType"])
    model.ce(model.c.delete_event_type, name="p2")
    model.c.delete_model(modelId="m2", modelType=M["modelType"])
    assert model.done(model.c.delete_event_type(name="p2"))


def test_models_come_in_pages_of_10(afd):
    for number in range(12):
        afd.c.create_model(eventTypeName="pay", modelId=f"m{number}", modelType=M["modelType"])
    pages = list(afd.pages(afd.c.get_models, "models"))
    assert [len(page) for page in pages] == [10, 2]


def test_the_rules_of_a_version_may_name_only_scores_of_its_models(deployed):
    deployed.mkrule("score", "$m1_insightscore >= 0")
    create = deployed.c.create_detector_version
    deployed.ve(create, detectorId="det", rules=[deployed.rule("score")])
    assert create(detectorId="det", rules=[deployed.rule("score")], modelVersions=[V])
