// Sorting for the table of all workloads; without it the table stands in its own order.
(function () {
  "use strict";
  var table = document.getElementById("every-workload");
  if (!table) { return; }
  var body = table.tBodies[0];
  var original = Array.prototype.slice.call(body.rows);
  function value(row, column) {
    var cell = row.cells[column];
    return cell.hasAttribute("data-sort") ? cell.getAttribute("data-sort") : cell.textContent.trim();
  }
  function compare(a, b) {
    var unknownA = a === "" || a === "–", unknownB = b === "" || b === "–";
    if (unknownA || unknownB) { return unknownA === unknownB ? 0 : unknownA ? Infinity : -Infinity; }
    var x = Number(a), y = Number(b);
    return isNaN(x) || isNaN(y) ? a.localeCompare(b, "en") : x - y;
  }
  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
    // A span, because Chromium does not repeat a table's head on paper when there are buttons in it.
    var button = document.createElement("span");
    button.setAttribute("role", "button");
    button.tabIndex = 0;
    button.title = "Sort by this column";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("keydown", function (event) {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); button.click(); }
    });
    button.addEventListener("click", function () {
      var was = head.getAttribute("aria-sort");
      Array.prototype.forEach.call(table.tHead.rows[0].cells, function (h) { h.removeAttribute("aria-sort"); });
      var rows = original.slice();
      if (was !== "descending") {
        var sign = was === "ascending" ? -1 : 1;
        head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
        rows.sort(function (a, b) {
          var order = compare(value(a, column), value(b, column));
          return isFinite(order) ? sign * order : order;
        });
      }
      table.classList.toggle("grouped", was === "descending");
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
  window.addEventListener("beforeprint", function () {
    Array.prototype.forEach.call(document.querySelectorAll("details"), function (d) { d.open = true; });
  });
}());
