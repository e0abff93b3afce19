const files = ["source", "checkpoint"].map((what) => evaluation.made_from[what]?.file).filter(Boolean);
byId("title").textContent = `${files.join(" and ")} on ${images(evaluation.data.used)}`;
writeVerdict(byId("badge"), byId("summary"));
writeEvaluation();
