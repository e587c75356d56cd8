// Draws what the feed sends; one message holds all figures, so a lost one costs nothing.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const palette = ["#1f6fb2", "#e07b39", "#2e9e6b", "#8a63c9", "#c2517b", "#6b7f8f", "#b0a12b", "#3aa6b9"];
  const outcomeColour = { approve: "#2e9e6b", review: "#d9a520", block: "#c63d33" };
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const percent = (share) => (share === null || share === undefined ? "–" : (100 * share).toFixed(1) + " %");
  const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
  const charts = {};

  function chart(id, type, options) {
    Chart.defaults.color = colour("--soft");
    Chart.defaults.borderColor = colour("--line");
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    charts[id] = new Chart(byId(id), {
      type, data: { labels: [], datasets: [] },
      options: Object.assign({ responsive: true, maintainAspectRatio: false, animation: false }, options),
    });
  }

  function startCharts() {
    const bars = { indexAxis: "y", plugins: { legend: { display: false } }, scales: { x: { beginAtZero: true, ticks: { precision: 0 } } } };
    chart("sales", "line", { interaction: { mode: "index", intersect: false }, elements: { point: { radius: 0 }, line: { borderWidth: 2, tension: 0.25 } },
      plugins: { legend: { position: "bottom", labels: { boxWidth: 12 } } }, scales: { y: { beginAtZero: true }, x: { ticks: { maxTicksLimit: 8, maxRotation: 0 } } } });
    chart("outcomes", "doughnut", { cutout: "62%", plugins: { legend: { position: "right", labels: { boxWidth: 12 } } } });
    chart("by-currency", "bar", bars);
    chart("by-state", "bar", bars);
  }

  function setBars(id, counts) {
    charts[id].data.labels = Object.keys(counts);
    charts[id].data.datasets = [{ data: Object.values(counts), backgroundColor: outcomeColour.block, maxBarThickness: 18 }];
    charts[id].update();
  }

  function rows(body, lines) {
    body.replaceChildren(...lines.map((cells) => {
      const row = document.createElement("tr");
      for (const [text, kind, pill] of cells) {
        const cell = document.createElement("td");
        if (kind) cell.className = kind;
        if (pill) { const span = document.createElement("span"); span.className = "pill " + pill; span.textContent = text; cell.append(span); }
        else cell.textContent = text;
        row.append(cell);
      }
      return row;
    }));
  }

  function drawTotals(data) {
    const blocked = data.outcomes.block || 0;
    byId("transactions").textContent = whole.format(data.transactions);
    byId("rate").textContent = data.per_second + " per second now";
    byId("blocked").textContent = whole.format(blocked);
    byId("blocked-share").textContent = data.transactions ? percent(blocked / data.transactions) + " of transactions" : "";
    const path = data.latency_ms.time_to_decision, call = data.latency_ms.decision;
    const best = path && path.n ? path : call;
    byId("latency").textContent = best && best.n ? `${Math.round(best.p50)} / ${Math.round(best.p99)} ms` : "–";
    byId("latency-note").textContent = best && best.n ? "p50 / p99, from payment to decision" : "no stream is running";
    const truth = data.truth;
    byId("stopped").textContent = truth ? percent(truth.money_stopped_share) : "–";
    byId("stopped-note").textContent = truth ? `of fraudulent money; ${percent(truth.legit_blocked_share)} of good payments blocked` : "needs a simulation's truth";
    byId("caught").textContent = truth ? whole.format(truth.caught) : "–";
    byId("missed").textContent = truth ? whole.format(truth.missed) : "–";
    byId("false-alarms").textContent = truth ? whole.format(truth.false_alarms) : "–";
    byId("truth-note").textContent = truth ? `${whole.format(truth.fraud)} fraudulent payments so far; dead letters: ${data.dead_letters}` : "No simulation is running.";
  }

  function drawCharts(data) {
    charts.sales.data.labels = data.sales.at_s.map((at) => clock(at * 1000));
    charts.sales.data.datasets = Object.entries(data.sales.series).map(([currency, values], index) => (
      { label: currency, data: values, borderColor: palette[index], backgroundColor: palette[index] }));
    charts.sales.update();
    const names = Object.keys(data.outcomes);
    charts.outcomes.data.labels = names.map((name) => `${name} (${whole.format(data.outcomes[name])})`);
    charts.outcomes.data.datasets = [{ data: Object.values(data.outcomes), borderWidth: 0,
      backgroundColor: names.map((name, index) => outcomeColour[name] || palette[(index + 5) % palette.length]) }];
    charts.outcomes.update();
    setBars("by-currency", data.blocked_by_currency);
    setBars("by-state", data.blocked_by_state);
  }

  function drawTables(data) {
    const tone = { approve: "good", review: "warn", block: "bad" };
    rows(byId("money"), Object.entries(data.money).map(([currency, each]) => (
      [[currency], [whole.format(each.revenue), "n"], [whole.format(each.blocked), "n bad"]])));
    rows(byId("decisions"), data.decisions.map((each) => [
      [clock(each.at_ms)], [each.entity_id], [`${whole.format(each.amount)} ${each.currency}`, "n"],
      [each.score === null ? "–" : whole.format(each.score), "n"], [each.rule || "–"], [each.outcome, "", tone[each.outcome] || "soft"]]));
    byId("mail-count").textContent = data.mail_count ? `${whole.format(data.mail_count)} sent` : "";
    byId("mails").replaceChildren(...data.mails.map((mail) => {
      const item = document.createElement("li"), subject = document.createElement("b"), about = document.createElement("span");
      subject.textContent = mail.subject;
      about.textContent = `${clock(mail.at_ms)} · ${mail.about}`;
      item.append(subject, about);
      return item;
    }));
    if (!data.mails.length) { const none = document.createElement("li"); none.textContent = "No mail yet: one comes for every blocked payment."; byId("mails").append(none); }
  }

  function show(state, text) { byId("state").className = state; byId("state-text").textContent = text; }

  window.addEventListener("DOMContentLoaded", () => {
    startCharts();
    const feed = new EventSource(document.body.dataset.feed);
    feed.onmessage = (message) => {
      const data = JSON.parse(message.data);
      show("live", "live");
      drawTotals(data); drawCharts(data); drawTables(data);
    };
    feed.onerror = () => show("lost", "connection lost, trying again …");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      Object.values(charts).forEach((each) => each.destroy()); startCharts();
    });
  });
})();
